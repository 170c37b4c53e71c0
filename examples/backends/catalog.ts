import Fastify, { type FastifyInstance } from 'fastify'

const items = ['lantern', 'rope', 'compass', 'map', 'kettle', 'tent']

/** A service for everybody: what is on sale, by number from 1. */
export function catalogBackend(): FastifyInstance {
  const app = Fastify()

  app.get<{ Params: { number: string } }>('/catalog/:number', function readItem(request, reply) {
    const item = items[Number(request.params.number) - 1]
    return item === undefined ? reply.code(404).send({ error: 'no such item' }) : { item }
  })

  return app
}
