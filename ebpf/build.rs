//! Declares the one `cfg` that the kernel programs use: the machine they are to run on, which
//! `cargo xtask build-ebpf` passes because the BPF target alone does not tell.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(bpf_target_arch, values(\"x86_64\", \"aarch64\"))");
    println!("cargo::rerun-if-changed=build.rs");
}
