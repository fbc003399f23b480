//! `promtool`, which knows what Prometheus makes of a page or of rules.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs it in the repository's root with this standard input.
///
/// # Panics
/// There is none, or it finds a fault.
#[track_caller]
pub fn check(arguments: &[&str], input: &[u8]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let taken = root.join("target/tools/promtool");
    let program = if taken.exists() { taken } else { PathBuf::from("promtool") };
    let child = Command::new(&program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("promtool cannot be run ({error}): `sh tests/support/promtool.sh` fetches it")
    });
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that does not read to the end has its reasons, which it tells.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
}
