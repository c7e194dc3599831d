//! What a step costs by itself: the median of fifty runs of `/bin/true` on the root directory given.

use std::time::Instant;

use sandbox::{Cancel, Executor, Namespaces, Spec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    sandbox::init_if_asked();
    let root = std::env::args().nth(1).ok_or("usage: cost ROOT")?;
    sandbox::enter(sandbox::Wish::Best)?;
    let spec = Spec::new(root, vec!["/bin/true".to_owned()]);
    let mut times = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        Namespaces::new().run(&spec, &mut |_, _| {}, &Cancel::new())?;
        times.push(begun.elapsed());
    }
    times.sort();
    let seconds = times[times.len() / 2].as_secs_f64();
    std::io::Write::write_all(
        &mut std::io::stdout(),
        format!("{:.2} ms\n", seconds * 1000.0).as_bytes(),
    )?;
    Ok(())
}
