//! A seed as an ISO 9660 image (ECMA-119), in memory.
//!
//! A seed is three small files in one folder. The crates that write ISO 9660 bring a dozen companions and change their
//! interface with every release; external programs would be one more thing to install. So this is written out: a primary
//! volume descriptor, two path tables, one directory. No Rock Ridge and no Joliet: Linux shows plain names in lower case
//! and without `;1` (kernel's `isofs_name_translate`), which is what NoCloud looks for, on the label `cidata`.

/// Bytes of a sector.
const SECTOR: usize = 2048;
/// Sectors: 0-15 system area, 16 and 17 descriptors, 18 and 19 path tables, 20 directory, then the files.
const PATH_TABLE_LE: u32 = 18;
const PATH_TABLE_BE: u32 = 19;
const ROOT: u32 = 20;

/// An image with label `label` that holds `files`. Names come in upper case and sorted, and the directory must fit into one sector.
pub fn image(label: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let mut next = ROOT + 1;
    let mut directory = Vec::new();
    directory.extend(record(&[0], ROOT, SECTOR, true));
    directory.extend(record(&[1], ROOT, SECTOR, true));
    let mut content = Vec::new();
    for (name, text) in files {
        directory.extend(record(format!("{name};1").as_bytes(), next, text.len(), false));
        content.extend_from_slice(text.as_bytes());
        content.resize(content.len().next_multiple_of(SECTOR), 0);
        next = ROOT + 1 + u32::try_from(content.len() / SECTOR).expect("seeds are small");
    }
    assert!(directory.len() <= SECTOR, "a seed has three files");

    let mut image = vec![0; 16 * SECTOR];
    push_sector(&mut image, &primary_descriptor(label, next));
    push_sector(&mut image, b"\xffCD001\x01");
    push_sector(&mut image, &path_table(ROOT.to_le_bytes(), 1u16.to_le_bytes()));
    push_sector(&mut image, &path_table(ROOT.to_be_bytes(), 1u16.to_be_bytes()));
    push_sector(&mut image, &directory);
    image.extend(content);
    image
}

/// ECMA-119 8.4.
fn primary_descriptor(label: &str, sectors: u32) -> Vec<u8> {
    let mut out = b"\x01CD001\x01\0".to_vec();
    text(&mut out, "LINUX", 32);
    text(&mut out, label, 32);
    out.extend([0; 8]);
    out.extend(both32(sectors));
    out.extend([0; 32]);
    out.extend(both16(1)); // volumes in the set
    out.extend(both16(1)); // number of this one
    out.extend(both16(SECTOR as u16));
    out.extend(both32(10)); // bytes of a path table
    out.extend(PATH_TABLE_LE.to_le_bytes());
    out.extend([0; 4]);
    out.extend(PATH_TABLE_BE.to_be_bytes());
    out.extend([0; 4]);
    out.extend(record(&[0], ROOT, SECTOR, true));
    for length in [128, 128, 128, 128, 37, 37, 37] {
        text(&mut out, "", length); // set, publisher, preparer, application, three file names
    }
    for _ in 0..4 {
        out.extend(b"0000000000000000\0"); // dates, not given
    }
    out.push(1); // version of the file structure
    out
}

/// Directory record, ECMA-119 9.1.
fn record(name: &[u8], sector: u32, bytes: usize, directory: bool) -> Vec<u8> {
    let padding = 1 - name.len() % 2;
    let mut out = vec![(33 + name.len() + padding) as u8, 0];
    out.extend(both32(sector));
    out.extend(both32(u32::try_from(bytes).expect("seeds are small")));
    out.extend([120, 1, 1, 0, 0, 0, 0]); // 2020-01-01: the same content makes the same image
    out.push(if directory { 2 } else { 0 });
    out.extend([0, 0]);
    out.extend(both16(1));
    out.push(name.len() as u8);
    out.extend(name);
    out.extend(&[0][..padding]);
    out
}

/// Path table with the root alone, ECMA-119 9.4.
fn path_table(sector: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    let mut out = vec![1, 0];
    out.extend(sector);
    out.extend(parent);
    out.extend([0, 0]);
    out
}

fn push_sector(image: &mut Vec<u8>, content: &[u8]) {
    image.extend(content);
    image.resize(image.len().next_multiple_of(SECTOR), 0);
}

fn text(out: &mut Vec<u8>, text: &str, length: usize) {
    out.extend(text.bytes().chain(std::iter::repeat(b' ')).take(length));
}

fn both32(value: u32) -> Vec<u8> {
    [value.to_le_bytes(), value.to_be_bytes()].concat()
}

fn both16(value: u16) -> Vec<u8> {
    [value.to_le_bytes(), value.to_be_bytes()].concat()
}
