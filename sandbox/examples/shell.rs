//! A shell on the root directory given, in a terminal of its own.

use sandbox::{Cancel, Executor, Namespaces, Spec, Stdio};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sandbox::init_if_asked();
    let mut args = std::env::args().skip(1);
    let root = args.next().ok_or("usage: shell ROOT [COMMAND...]")?;
    let command: Vec<String> = args.collect();
    sandbox::enter(sandbox::Wish::Best)?;
    let command = if command.is_empty() {
        vec!["/bin/sh".to_owned()]
    } else {
        command
    };
    let mut spec = Spec::new(root, command);
    spec.stdio = match rustix::termios::isatty(rustix::stdio::stdin()) {
        true => Stdio::Terminal,
        false => Stdio::Inherited { stdin: true },
    };
    let exit = Namespaces::new().run(&spec, &mut |_, _| {}, &Cancel::new())?;
    if exit.is_success() {
        Ok(())
    } else {
        Err(exit.to_string().into())
    }
}
