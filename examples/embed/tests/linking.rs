//! A program with embedded kernels needs no compiler at run time.
#![cfg(target_os = "linux")]

/// The names of the dynamic libraries that an ELF file asks for: its DT_NEEDED entries.
fn needed(file: &[u8]) -> Vec<String> {
    let number = |at: usize, bytes: usize| {
        file[at..at + bytes].iter().rev().fold(0u64, |n, byte| n << 8 | u64::from(*byte)) as usize
    };
    assert_eq!(&file[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
    let (headers, size, count) = (number(40, 8), number(58, 2), number(60, 2));
    let sections: Vec<usize> = (0..count).map(|n| headers + n * size).collect();
    const SHT_DYNAMIC: usize = 6;
    let dynamic = *sections.iter().find(|at| number(**at + 4, 4) == SHT_DYNAMIC).expect("a dynamic section");
    let (offset, length, link) = (number(dynamic + 24, 8), number(dynamic + 32, 8), number(dynamic + 40, 4));
    let names = number(sections[link] + 24, 8);
    const DT_NEEDED: usize = 1;
    let entries = (offset..offset + length).step_by(16).filter(|at| number(*at, 8) == DT_NEEDED);
    let name = |at: usize| file[at..].iter().take_while(|b| **b != 0).map(|b| *b as char).collect();
    entries.map(|at| name(names + number(at + 8, 8))).collect()
}

#[test]
fn no_llvm_and_no_cuda_is_linked() {
    let file = std::fs::read(env!("CARGO_BIN_EXE_nsa-example-embed")).expect("built by cargo");
    let needed = needed(&file);
    assert!(needed.iter().any(|name| name.starts_with("libc.so")), "the reader works: {needed:?}");
    let unwanted = |name: &&String| ["LLVM", "cuda", "stdc++"].iter().any(|part| name.contains(part));
    assert_eq!(needed.iter().find(unwanted), None);
}
