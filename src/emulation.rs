//! What is said of emulation before a build that needs it: which emulator runs the programs of which platform.

use std::ffi::OsStr;

use graph::{Definition, Op};
use oci::Platform;
use sandbox::{Emulation, Isolation};
use solver::Reporter;

/// Finds out how the steps of `definition` for other processors are run, puts to use what can be, and tells.
///
/// What cannot be run is no failure yet: a step may be for another platform only by name.
pub(crate) fn prepare(definition: &Definition, isolation: &Isolation, search: Option<&OsStr>, reporter: &Reporter) {
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
    for (architecture, emulation) in architectures.iter().zip(emulations) {
        let note = match &emulation {
            Emulation::Native => continue,
            Emulation::By(program) => format!("by {}", program.display()),
            Emulation::InsideOnly(program) => format!(
                "by {}, which must be in the image: it is registered without the flag F",
                program.display()
            ),
            Emulation::None => format!("warning: there is no emulator: programs for {architecture} do not run here"),
        };
        let step = reporter.start(format!("[internal] emulate {architecture} on {}", host.architecture));
        step.note(note);
        step.done();
    }
}
