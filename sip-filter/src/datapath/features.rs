//! What the running kernel has, and what is done where it lacks something: a plain replacement when the program
//! is loaded, or a refusal that names what is missing and the version that has it.
//!
//! Kernels are asked, not compared by version: distributions take features over into older ones.

use std::borrow::Cow;

use aya::{
    EbpfLoader,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

/// The section of programs that take frames in several buffers; the flag that the kernel is given follows from its name.
const SECTION: &[u8] = b"xdp.frags\0";
/// The same names, ended before the dot.
const SECTION_WITHOUT: &[u8] = b"xdp\0frags\0";
/// The constant in the program, in `sip-filter-ebpf/src/frame.rs`.
const MULTI_BUFFER: &str = "MULTI_BUFFER";

/// What the program cannot do without, and the version of Linux that has it.
const INDISPENSABLE: &[((u32, u32), &str)] = &[
    ((5, 8), "the helper bpf_ktime_get_boot_ns and the capability CAP_BPF"),
    ((5, 9), "links for XDP programs"),
];

/// What a kernel has of what the program can do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// XDP frames in several buffers (`frags`) and the helpers that read them, since Linux 5.18.
    ///
    /// Without them every frame is linear, so nothing of it is out of reach;
    /// but native XDP is then refused by drivers whose MTU is larger than a page.
    pub multi_buffer: bool,
}

impl Features {
    /// Asks the kernel.
    pub fn of_kernel() -> Self {
        // The helper came with the flag, in one series of patches. Who cannot ask is told at load why not.
        let helper = is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_xdp_load_bytes);
        let features = Self { multi_buffer: helper.unwrap_or(true) };
        if !features.multi_buffer {
            tracing::info!(
                "this kernel has no XDP multi-buffer support (Linux 5.18 has): interfaces with an MTU larger than a page \
                 are attached to in generic mode"
            );
        }
        features
    }

    /// The object as this kernel takes it, and the loader told of what is missing.
    pub(super) fn fit<'a>(self, object: &'a [u8], loader: &mut EbpfLoader<'a>) -> Cow<'a, [u8]> {
        if self.multi_buffer {
            return Cow::Borrowed(object);
        }
        loader.override_global(MULTI_BUFFER, &0_u8, true);
        Cow::Owned(without_multi_buffer(object))
    }
}

/// The object with its programs in the section `xdp`, which asks the kernel for nothing more.
///
/// The name stands in the table of section names and in that of the type information, each entry ended by a zero:
/// ended earlier, it is another section's and every offset stays what it was.
fn without_multi_buffer(object: &[u8]) -> Vec<u8> {
    let mut object = object.to_vec();
    for start in 0..object.len().saturating_sub(SECTION.len()) {
        let name = &mut object[start..start + SECTION.len()];
        if name == SECTION {
            name.copy_from_slice(SECTION_WITHOUT);
        }
    }
    object
}

/// What the kernel lacks, where its version tells; the end of an error's text, empty where nothing is known.
pub(super) fn hint() -> String {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    hint_of(&release)
}

fn hint_of(release: &str) -> String {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else { return String::new() };
    let lacking = INDISPENSABLE.iter().filter(|(since, _)| (major, minor) < *since);
    let lacking: Vec<_> = lacking
        .map(|((major, minor), what)| format!("{what}, which Linux has since {major}.{minor}"))
        .collect();
    match lacking[..] {
        [] => String::new(),
        _ => format!(": kernel {release} lacks {}", lacking.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernel_is_told_what_it_lacks_and_who_has_it() {
        let text = hint_of("5.8.0-1-amd64");
        assert_eq!(text, ": kernel 5.8.0-1-amd64 lacks links for XDP programs, which Linux has since 5.9");
        assert!(hint_of("5.4.0").contains("bpf_ktime_get_boot_ns") && hint_of("5.4.0").contains("5.8"));
        for fine in ["5.10.0-39-cloud-amd64", "6.18.1", "unknown"] {
            assert_eq!(hint_of(fine), "", "{fine}");
        }
    }

    #[test]
    fn without_multi_buffer_the_programs_stand_in_the_plain_section() {
        let has_flag = |object: &[u8]| {
            let object = aya_obj::Object::parse(object).unwrap();
            let sections = object.programs.values().map(|program| program.section.clone());
            let flags: Vec<_> = sections
                .filter_map(|section| match section {
                    aya_obj::ProgramSection::Xdp { frags, .. } => Some(frags),
                    _ => None,
                })
                .collect();
            assert!(!flags.is_empty());
            flags
        };
        assert!(has_flag(super::super::object::OBJECT).into_iter().all(|flag| flag));
        let without = without_multi_buffer(super::super::object::OBJECT);
        assert!(has_flag(&without).into_iter().all(|flag| !flag));
    }
}
