/**
 * QEMU's options, by whether a value follows (qemu-options.hx of 2.12 to 10). A value may look like an option:
 * `-append -nodefaults`, `-name -nic`.
 */

/** No value follows these. */
export const BARE: ReadonlySet<string> = names(`
  h help version S s usb sdl daemonize nodefaults snapshot nographic curses portrait full-screen win2k-hack alt-grab ctrl-grab show-cursor
  no-frame no-quit no-fd-bootchk no-acpi no-hpet no-reboot no-shutdown no-user-config no-kvm no-kvm-irqchip no-kvm-pit
  no-kvm-pit-reinjection enable-kvm enable-hax enable-fips enable-sync-profile mem-prealloc audio-help singlestep preconfig
  xen-attach xen-create xen-domid-restrict only-migratable async-teardown semihosting old-param perfmap jitdump
  one-insn-per-tb`);

/** A value follows these, whatever it begins with. */
export const VALUED: ReadonlySet<string> = names(`
  M machine cpu accel smp numa add-fd set global boot m mem-path k audio audiodev soundhw device name uuid fda fdb hda hdb hdc
  hdd cdrom blockdev drive mtdblock sd pflash fsdev virtfs iscsi usbdevice display spice rotate vga g vnc acpitable
  smbios chardev tpmdev bios kernel shim append initrd dtb compat fw_cfg serial parallel monitor qmp qmp-pretty mon debugcon
  pidfile overcommit realtime gdb d D dfilter seed L xen-domid action loadvm option-rom rtc icount watchdog watchdog-action echr
  incoming chroot runas run-with sandbox readconfig writeconfig trace plugin msg dump-vmstate object prom-env semihosting-config
  tb-size clock virtioconsole bt tdf redir tftp bootp smb qtest qtest-log netdev nic net`);

function names(text: string): ReadonlySet<string> {
  return new Set(
    text
      .trim()
      .split(/\s+/)
      .map((name) => `-${name}`),
  );
}
