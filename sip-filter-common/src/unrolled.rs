//! Repetition that the verifier of every supported kernel takes.

/// Writes a block down several times.
///
/// The kernel's verifier takes loops, but on Linux 6.1 not one that ends by falling through to its head,
/// and how a loop is laid out is the compiler's choice.
macro_rules! unrolled {
    (4, $block:block) => {
        $block $block $block $block
    };
    (7, $block:block) => {
        unrolled!(4, $block);
        $block $block $block
    };
    (8, $block:block) => {
        unrolled!(4, $block);
        unrolled!(4, $block);
    };
    (15, $block:block) => {
        unrolled!(8, $block);
        unrolled!(7, $block);
    };
}
