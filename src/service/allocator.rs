//! Tells the C library's allocator to give large blocks back to the system once they are free.
//!
//! By itself it does so only until the first of them is freed: from then on it takes blocks of that
//! size from its arenas, where a small one that lives on holds all the space below it. See
//! doc/decisions/allocator.md.
#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "mallopt has no safe form"))]

/// Blocks of this many bytes and more are mapped one by one. Smaller ones come too often for that.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: nix::libc::c_int = 4 << 20;
/// What an arena may have free at its end before it gives that back: room for some blocks below
/// the threshold, which would else be mapped anew each time.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: nix::libc::c_int = 8 << 20;

/// To be called before there are threads. Other C libraries need no such word.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and no other thread is there yet. It fails only for numbers
    // out of range, and then nothing is lost.
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        nix::libc::mallopt(nix::libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
    }
}
