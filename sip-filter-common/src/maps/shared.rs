//! The macro for types that cross between the kernel and the controller.

macro_rules! shared {
    ($($(#[$doc:meta])* pub struct $name:ident: $size:literal { $($(#[$field_doc:meta])* pub $field:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

        const _: () = {
            assert!(size_of::<$name>() == $size, "the size is part of the contract");
            assert!(0 $(+ size_of::<$kind>())* == $size, "no padding crosses the boundary");
        };

        // SAFETY: bytemuck's derive above holds only for plain data without padding, which is what aya asks for.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name where $name: bytemuck::Pod {}
    )*};
}
