//! What the running kernel has, as the controller found it when it loaded the program.
//! Constants to the verifier: it removes the branch that the kernel could not run, calls to absent helpers included.

use aya_ebpf::Global;

/// 1 where XDP frames may be spread over several buffers (Linux 5.18, or an older kernel with that taken over).
///
/// The name is known to `datapath/features.rs` of the controller.
#[unsafe(no_mangle)]
static MULTI_BUFFER: Global<u8> = Global::new(1);

/// Whether a frame may have bytes behind its linear part; where not, the helpers that reach them are absent too.
#[inline(always)]
pub(crate) fn has_multi_buffer() -> bool {
    MULTI_BUFFER.load() != 0
}
