import WebSocket from 'ws'

export type OnPeerClose = (code: number, reason: Buffer) => void

const noCode = 1005
const noReason = Buffer.alloc(0)

/**
 * A WebSocket whose peer's close frame is answered by us. ws answers it at once, and what the other end of the gateway has
 * sent before it heard of the close would be lost: with us in between it takes longer to hear.
 */
export class PeerSocket extends WebSocket {
  /** Hears of the close frame. Whoever sets it calls `endWith` some time, unless that was called before. */
  onPeerClose: OnPeerClose | null = null
  #hasBegun = false

  /**
   * What ws 8.23 calls: with a code and a reason or with nothing when a close frame has come, with a code alone when the peer has
   * broken the protocol. The conformance tests notice when that changes.
   */
  override close(...given: [code?: number, reason?: string | Buffer]): void {
    const { onPeerClose } = this
    if (given.length === 1 || onPeerClose === null) {
      super.close(...given)
      return
    }
    // The handshake is complete: this ends the connection.
    if (this.#hasBegun) super.close()
    const [code = noCode, reason = noReason] = given
    onPeerClose(code, reason as Buffer)
  }

  /** Begins the closing handshake, or answers the peer's; without a code where there was none (RFC 6455, 7.1.5). */
  endWith(code: number, reason: Buffer | string): void {
    if (this.readyState !== WebSocket.OPEN) return
    this.#hasBegun = true
    if (code === noCode) super.close()
    else super.close(code, reason)
    // The peer's close frame is behind what it has sent before.
    this.resume()
  }
}
