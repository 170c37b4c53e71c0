import { createServer, type Server } from 'node:http'
import { WebSocketServer } from 'ws'

const subprotocol = 'prices.v1'
/** Milliseconds between two prices. */
const interval = 200

export interface PriceFeed {
  server: Server
  close(): void
}

/** Prices over WebSocket, of the lantern only. Whom the gateway says that they are for stands in the first message. */
export function priceFeedBackend(): PriceFeed {
  const server = createServer()
  const sockets = new WebSocketServer({
    server,
    path: '/prices/live',
    handleProtocols: offered => (offered.has(subprotocol) ? subprotocol : false)
  })

  sockets.on('connection', function sendPrices(socket, request) {
    let cents = 2000
    socket.send(JSON.stringify({ hello: request.headers['x-forwarded-user'] ?? 'nobody' }))
    const ticks = setInterval(() => {
      cents += Math.round(Math.random() * 20 - 10)
      socket.send(JSON.stringify({ item: 'lantern', price: cents / 100 }))
    }, interval)
    socket.once('close', () => clearInterval(ticks))
    socket.on('error', () => socket.terminate())
  })

  function close(): void {
    for (const socket of sockets.clients) socket.terminate()
    server.close()
  }
  return { server, close }
}
