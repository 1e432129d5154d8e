//! The records of a capture file, one by one.
//!
//! Holds one record at a time, never the file; knows neither what a record carries nor what becomes of it.

use std::io::{self, Read};
use std::ops::Range;

use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::{ENHANCED_PACKET_BLOCK, PACKET_BLOCK, SIMPLE_PACKET_BLOCK};
use pcap_file::pcapng::{PcapNgParser, RawBlock};
use pcap_file::{DataLink, Endianness, PcapError, TsResolution};
use sip_filter_common::Frame as _;

use super::link::Link;

/// Longer than any packet, so that a damaged length is not taken for a request to read the whole file.
const RECORD_LEN_MAX: usize = 1 << 24;
/// What is read at a time.
const READ_LEN: usize = 1 << 16;

/// The header of a pcap record: seconds, their fraction, captured and original length.
const RECORD_HEADER_LEN: usize = 16;
/// Type and length of a pcapng block; the length stands once more at its end.
const BLOCK_HEADER_LEN: usize = 8;

/// In the files' byte order, as bytes.
const PCAP_MAGICS: [[u8; 4]; 4] =
    [[0xa1, 0xb2, 0xc3, 0xd4], [0xd4, 0xc3, 0xb2, 0xa1], [0xa1, 0xb2, 0x3c, 0x4d], [0x4d, 0x3c, 0xb2, 0xa1]];
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Why a capture cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It begins like no format that is read.
    #[error(
        "this is no capture: give a file in pcap or pcapng format, not compressed, such as `tcpdump -w FILE` writes"
    )]
    NotACapture,
    /// There is nothing in it.
    #[error("the file is empty: give a capture in pcap or pcapng format, such as `tcpdump -w FILE` writes")]
    Empty,
    /// It ends in the middle of a record.
    #[error("the capture is cut off: it ends in the middle of a record; what came before was judged")]
    CutOff,
    /// Its link layer is none that can be judged.
    #[error("the link type {name} ({number}) cannot be judged: capture on an Ethernet interface or on `any`")]
    LinkType {
        /// The LINKTYPE_ value.
        number: u32,
        /// What the registry calls it, as far as known.
        name: String,
    },
    /// A record is for an interface that was not described.
    #[error(
        "the capture is damaged: a packet names interface {id}, but {known} are described; what came before was judged"
    )]
    Interface {
        /// The number it gives.
        id: u32,
        /// How many there are.
        known: usize,
    },
    /// A record claims a length that none has.
    #[error(
        "the capture is damaged: a record claims more than {RECORD_LEN_MAX} bytes; what came before was judged"
    )]
    TooLong,
    /// A record contradicts the format.
    #[error("the capture is damaged; what came before was judged")]
    Damaged(#[source] PcapError),
    /// The file system failed.
    #[error("the capture cannot be read on")]
    Read(#[source] io::Error),
}

/// One captured packet.
#[derive(Debug)]
pub(super) struct Record<'a> {
    pub(super) link: Link,
    /// Since 1970; some records have no time stamp.
    pub(super) at_ns: Option<u64>,
    /// From the link header on, as much as was captured.
    pub(super) bytes: &'a [u8],
}

/// A capture that is being read.
pub(super) struct Capture<R> {
    format: Format,
    buffer: Buffer<R>,
}

enum Format {
    Pcap(PcapParser, Link),
    PcapNg(Box<PcapNgParser>),
}

/// Where in a record its packet stands, and what the file says about it.
struct Found {
    link: Link,
    at_ns: Option<u64>,
    bytes: Range<usize>,
}

impl<R: Read> Capture<R> {
    /// Reads the file's header.
    pub(super) fn open(reader: R) -> Result<Self, CaptureError> {
        let mut buffer = Buffer::new(reader);
        while buffer.unread().len() < PCAPNG_MAGIC.len() {
            if !buffer.fill()? {
                return Err(if buffer.unread().is_empty() {
                    CaptureError::Empty
                } else {
                    CaptureError::NotACapture
                });
            }
        }
        let magic = buffer.unread().read::<4>(0).unwrap_or_default();
        let format = if magic == PCAPNG_MAGIC {
            let (parser, _) = buffer.parse(PcapNgParser::new)?;
            Format::PcapNg(Box::new(parser))
        } else if PCAP_MAGICS.contains(&magic) {
            let (parser, _) = buffer.parse(PcapParser::new)?;
            let link = known_link(parser.header().datalink)?;
            Format::Pcap(parser, link)
        } else {
            return Err(CaptureError::NotACapture);
        };
        Ok(Self { format, buffer })
    }

    /// The next packet; `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        loop {
            if self.buffer.unread().is_empty() && !self.buffer.fill()? {
                return Ok(None);
            }
            let (found, record) = match &mut self.format {
                Format::Pcap(parser, link) => {
                    let (at_ns, record) = self.buffer.parse(|bytes| {
                        let (rest, raw) = parser.next_raw_packet(bytes)?;
                        Ok((rest, (raw.ts_sec, raw.ts_frac)))
                    })?;
                    let at_ns = Some(pcap_time_ns(at_ns, parser.header().ts_resolution));
                    (Some(Found { link: *link, at_ns, bytes: RECORD_HEADER_LEN..record.len() }), record)
                }
                Format::PcapNg(parser) => {
                    let (block, record) = self.buffer.parse(|bytes| {
                        let (rest, raw) = parser.next_raw_block(bytes)?;
                        Ok((rest, packet_in(&raw, parser)))
                    })?;
                    (block?, record)
                }
            };
            if let Some(Found { link, at_ns, bytes }) = found {
                let bytes =
                    self.buffer.bytes.get(record).and_then(|record| record.get(bytes)).unwrap_or_default();
                return Ok(Some(Record { link, at_ns, bytes }));
            }
        }
    }
}

fn known_link(link: DataLink) -> Result<Link, CaptureError> {
    // The upper half of a pcap file's field is about the frame check sequence.
    let number = u32::from(link) & 0xffff;
    Link::from_number(number).ok_or_else(|| {
        let name = match DataLink::from(number) {
            DataLink::Unknown(_) => "unknown".to_owned(),
            known => format!("{known:?}"),
        };
        CaptureError::LinkType { number, name }
    })
}

fn pcap_time_ns((seconds, fraction): (u32, u32), resolution: TsResolution) -> u64 {
    let fraction_ns = match resolution {
        TsResolution::MicroSecond => u64::from(fraction) * 1_000,
        TsResolution::NanoSecond => u64::from(fraction),
    };
    u64::from(seconds) * 1_000_000_000 + fraction_ns
}

/// The packet in a pcapng block, if the block is for one.
///
/// Read here and not by the crate, which refuses packets for their comments and takes every time stamp for nanoseconds.
fn packet_in(block: &RawBlock<'_>, parser: &PcapNgParser) -> Result<Option<Found>, CaptureError> {
    let big = parser.section().endianness == Endianness::Big;
    let number = |offset: usize| {
        let bytes =
            block.body.read::<4>(offset).ok_or_else(|| damaged("a packet block ends in its header"))?;
        Ok(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let (interface, time, length, header_len) = match block.type_ {
        ENHANCED_PACKET_BLOCK => (number(0)?, true, number(12)?, 20),
        PACKET_BLOCK => {
            let both = number(0)?;
            (if big { both >> 16 } else { both & 0xffff }, true, number(12)?, 20)
        }
        SIMPLE_PACKET_BLOCK => (0, false, number(0)?, 4),
        _ => return Ok(None),
    };
    let interfaces = parser.interfaces();
    let Some(interface) = usize::try_from(interface).ok().and_then(|id| interfaces.get(id)) else {
        return Err(CaptureError::Interface { id: interface, known: interfaces.len() });
    };
    let rest =
        block.body.len().checked_sub(header_len).ok_or_else(|| damaged("a block ends before its packet"))?;
    let mut length = length as usize;
    if block.type_ == SIMPLE_PACKET_BLOCK {
        // It has only the original length; what was captured ends at the interface's limit, or with the block.
        let limit = if interface.snaplen == 0 { usize::MAX } else { interface.snaplen as usize };
        length = length.min(limit).min(rest);
    }
    if length > rest {
        return Err(damaged("a packet is longer than its block"));
    }
    let at_ns = if time {
        let units = (u64::from(number(4)?) << 32) | u64::from(number(8)?);
        Some(pcapng_time_ns(units, interface))
    } else {
        None
    };
    let start = BLOCK_HEADER_LEN + header_len;
    Ok(Some(Found { link: known_link(interface.linktype)?, at_ns, bytes: start..start + length }))
}

fn damaged(what: &'static str) -> CaptureError {
    CaptureError::Damaged(PcapError::InvalidField(what))
}

/// A time stamp in the units and with the offset of its interface (`if_tsresol`, `if_tsoffset`).
fn pcapng_time_ns(units: u64, interface: &InterfaceDescriptionBlock<'_>) -> u64 {
    let mut resolution = 6;
    let mut offset_s = 0;
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(given) => resolution = *given,
            InterfaceDescriptionOption::IfTsOffset(given) => offset_s = given.cast_signed(),
            _ => {}
        }
    }
    let exponent = u32::from(resolution & 0x7f);
    let ns = u128::from(units) * 1_000_000_000;
    let ns = if resolution & 0x80 == 0 {
        10_u128.checked_pow(exponent).map_or(0, |per_second| ns / per_second)
    } else {
        ns >> exponent
    };
    let ns = i128::try_from(ns).unwrap_or(i128::MAX).saturating_add(i128::from(offset_s) * 1_000_000_000);
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}

/// The part of the file that is being looked at.
struct Buffer<R> {
    reader: R,
    bytes: Vec<u8>,
    /// Where the next record begins.
    start: usize,
    /// Where what was read ends.
    end: usize,
}

impl<R: Read> Buffer<R> {
    fn new(reader: R) -> Self {
        Self { reader, bytes: Vec::new(), start: 0, end: 0 }
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Reads on; false at the end of the file.
    fn fill(&mut self) -> Result<bool, CaptureError> {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.bytes.len() {
            self.bytes.resize((self.bytes.len() * 2).max(READ_LEN), 0);
        }
        loop {
            match self.reader.read(&mut self.bytes[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CaptureError::Read(error)),
            }
        }
    }

    /// What `parser` makes of the next bytes, which it is given more of until they are enough, and where they stand.
    fn parse<T>(
        &mut self,
        mut parser: impl FnMut(&[u8]) -> Result<(&[u8], T), PcapError>,
    ) -> Result<(T, Range<usize>), CaptureError> {
        loop {
            match parser(self.unread()) {
                Ok((rest, parsed)) => {
                    let record = self.start..self.end - rest.len();
                    self.start = record.end;
                    return Ok((parsed, record));
                }
                Err(PcapError::IncompleteBuffer) => {}
                Err(error) => return Err(CaptureError::Damaged(error)),
            }
            if self.unread().len() >= RECORD_LEN_MAX {
                return Err(CaptureError::TooLong);
            }
            if !self.fill()? {
                return Err(CaptureError::CutOff);
            }
        }
    }
}
