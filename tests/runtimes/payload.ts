/**
 * The smallest kernels: an ELF file that is entered in 64-bit mode and writes to the first serial port. They run under a KVM on which
 * Linux does not, so that what a VMM does with a guest that really runs can be seen.
 */
const LOAD = 0x100000;
const HEADERS = 64 + 56;
const OUT_SERIAL = [0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8

/** It says the alphabet, over and over, a letter after each of so many rounds of doing nothing. */
export function letters(rounds: number): Buffer {
  const delay = [0xb9, ...le32(rounds), 0xf3, 0x90, 0xff, 0xc9, 0x75, 0xfa]; // mov ecx, rounds; pause; dec ecx; jnz -6
  const body = [0xee, ...delay, 0xfe, 0xc0, 0x3c, 0x5b]; // out dx, al; ...; inc al; cmp al, 'Z' + 1
  const again = [0x75, 256 - (body.length + 2)]; // jnz body
  const first = [0xb0, 0x41]; // mov al, 'A'
  const back = [0xeb, 256 - (body.length + again.length + first.length + 2)]; // jmp body
  return elf([...OUT_SERIAL, ...first, ...body, ...again, ...first, ...back]);
}

/** It says this, and resets the machine by its keyboard controller, as Linux does with reboot=k. */
export function says(text: string): Buffer {
  const said = [...Buffer.from(text)].flatMap((c) => [0xb0, c, 0xee]); // mov al, c; out dx, al
  return elf([...OUT_SERIAL, ...said, 0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd]); // mov al, 0xfe; out 0x64, al; hlt; jmp -3
}

/** System V ABI, "Object Files": one segment, loaded at 1 MiB. */
function elf(code: number[]): Buffer {
  const file = Buffer.alloc(HEADERS + code.length);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  for (const [at, value] of [
    ...[[16, 2] as const, [18, 62] as const], // an executable, for x86-64
    ...[[52, 64] as const, [54, 56] as const, [56, 1] as const], // sizes of the headers, one of them a program's
  ])
    file.writeUInt16LE(value, at);
  file.writeUInt32LE(1, 20);
  file.writeBigUInt64LE(BigInt(LOAD + HEADERS), 24);
  file.writeBigUInt64LE(64n, 32);
  file.writeUInt32LE(1, 64); // PT_LOAD
  file.writeUInt32LE(7, 68); // to be read, written and run
  for (const at of [80, 88]) file.writeBigUInt64LE(BigInt(LOAD), at);
  for (const at of [96, 104]) file.writeBigUInt64LE(BigInt(file.length), at);
  file.set(code, HEADERS);
  return file;
}

function le32(n: number): number[] {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(n);
  return [...bytes];
}
