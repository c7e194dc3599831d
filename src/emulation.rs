//! What is said of emulation before a build that needs it: which emulator runs the programs of which platform, and which
//! steps are run by one.

use std::collections::HashMap;
use std::ffi::OsStr;

use graph::{Definition, Op};
use oci::Platform;
use sandbox::{Emulation, Isolation};
use solver::Reporter;

/// Finds out how the steps of `definition` for other processors are run, puts to use what can be, and tells.
///
/// What cannot be run is no failure yet: a step may be for another platform only by name.
pub(crate) fn prepare(definition: &mut Definition, isolation: &Isolation, search: Option<&OsStr>, reporter: &Reporter) {
    let host = Platform::host();
    let mut architectures: Vec<String> = Vec::new();
    for (_, vertex) in definition.iter() {
        if let Op::Exec(exec) = &vertex.op
            && exec.platform.architecture != host.architecture
            && !architectures.contains(&exec.platform.architecture)
        {
            architectures.push(exec.platform.architecture.clone());
        }
    }
    if architectures.is_empty() {
        return;
    }
    let emulations = sandbox::emulate(&architectures, isolation, search);
    let mut emulators: HashMap<String, String> = HashMap::new();
    for (architecture, emulation) in architectures.iter().zip(emulations) {
        let note = match &emulation {
            Emulation::Native => continue,
            Emulation::By(program) => format!("by {}", program.display()),
            Emulation::InsideOnly(program) => format!(
                "by {}, which must be in the image: it is registered without the flag F",
                program.display()
            ),
            Emulation::Unregistered(program) => format!(
                "warning: programs for {architecture} do not run here: {} is not registered with the kernel; \
                 `systemctl restart systemd-binfmt` or `update-binfmts --enable` registers it for all, and an ordinary user's \
                 builds register it for themselves",
                program.display()
            ),
            Emulation::None => format!("warning: there is no emulator: programs for {architecture} do not run here"),
        };
        let step = reporter.start(format!("[internal] emulate {architecture} on {}", host.architecture));
        step.note(note);
        step.done();
        if let Emulation::By(program) | Emulation::InsideOnly(program) = &emulation {
            let name = program.file_name().unwrap_or(program.as_os_str());
            emulators.insert(architecture.clone(), name.to_string_lossy().into_owned());
        }
    }
    definition.rename(|vertex| {
        let Op::Exec(exec) = &vertex.op else { return None };
        let emulator = emulators.get(&exec.platform.architecture)?;
        Some(format!("{} (emulated by {emulator})", vertex.metadata.name))
    });
}
