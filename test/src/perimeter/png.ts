import { inflateSync } from 'node:zlib'

export interface Picture {
  width: number
  height: number
  /** Red, green and blue of a pixel, 0 to 255. */
  at(x: number, y: number): [number, number, number]
}

/** Enough of PNG (ISO/IEC 15948) for a browser's screenshot: 8 bits a channel, RGB or RGBA, not interlaced. */
export function readPng(file: Buffer): Picture {
  const width = file.readUInt32BE(16)
  const height = file.readUInt32BE(20)
  const channels = file[25] === 6 ? 4 : 3
  const parts: Buffer[] = []
  for (let offset = 8; offset < file.length; ) {
    const length = file.readUInt32BE(offset)
    if (file.toString('latin1', offset + 4, offset + 8) === 'IDAT')
      parts.push(file.subarray(offset + 8, offset + 8 + length))
    offset += length + 12
  }
  const raw = inflateSync(Buffer.concat(parts))
  const stride = width * channels
  const pixels = Buffer.alloc(stride * height)
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)]!
    for (let i = 0; i < stride; i++) {
      const left = i < channels ? 0 : pixels[y * stride + i - channels]!
      const up = y === 0 ? 0 : pixels[(y - 1) * stride + i]!
      const corner = y === 0 || i < channels ? 0 : pixels[(y - 1) * stride + i - channels]!
      const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter]!
      pixels[y * stride + i] = raw[y * (stride + 1) + 1 + i]! + predicted
    }
  }
  const at = (x: number, y: number): [number, number, number] => {
    const i = y * stride + x * channels
    return [pixels[i]!, pixels[i + 1]!, pixels[i + 2]!]
  }
  return { width, height, at }
}

function paeth(left: number, up: number, corner: number): number {
  const guess = left + up - corner
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)]
  if (a <= b && a <= c) return left
  return b <= c ? up : corner
}
