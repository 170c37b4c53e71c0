import type { Socket } from 'node:net'

/** Bytes that are read at once. */
const readSize = 16_384

/** Of every connection: what was read is copied out of it before the next one reads. */
const shared = Buffer.allocUnsafeSlow(readSize)

/**
 * For `net.connect`: reads in small pieces, and stops with `pause()`. Left to itself Node reads 64 KiB at once and once more after
 * a pause, which is what most of a connection costs whose client takes nothing.
 */
export const pacedRead = Object.freeze({
  buffer: shared,
  callback(this: Socket, size: number, buffer: Uint8Array): boolean {
    return this.push(Buffer.from(buffer.subarray(0, size)))
  }
})
