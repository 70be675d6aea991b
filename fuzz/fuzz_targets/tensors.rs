//! Safetensors files as arguments: any bytes, and any header with as many bytes of data as it says, if that is little.

#![no_main]

use nsa_measure::parse_tensors;

/// Most bytes of data behind a header.
const MAX_BYTES: usize = 1 << 16;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    read(data);
    let mut file = (data.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(data);
    read(&file);
    // The largest number in the header is its end of data, if it is a header at all.
    let numbers = data.split(|byte| !byte.is_ascii_digit()).filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    if let Some(bytes) = numbers.filter(|n: &usize| *n <= MAX_BYTES).max() {
        file.resize(file.len() + bytes, 0x3f);
        read(&file);
    }
});

fn read(file: &[u8]) {
    let Ok(tensors) = parse_tensors(file) else { return };
    for tensor in tensors.values() {
        assert_eq!(tensor.bytes().len(), tensor.elements() * tensor.dtype().bytes());
        assert!(tensor.bytes().len() <= 2 * file.len(), "no more memory than the file");
        if let Some(last) = tensor.elements().checked_sub(1) {
            let _ = tensor.get(last);
        }
        let _ = format!("{:?}", tensor.view());
    }
}
