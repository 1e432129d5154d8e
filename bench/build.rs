//! Compiles the floors and the packet generator and puts them at `$OUT_DIR/floors`, where the library embeds them from.

#[path = "../sip-filter/build/kernel_program.rs"]
mod kernel_program;
#[path = "../sip-filter/build/toolchain.rs"]
mod toolchain;

fn main() {
    kernel_program::build("floors");
}
