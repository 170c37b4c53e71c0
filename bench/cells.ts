import type { Chain, Peer } from './peers/peer.ts'

/** One line of the comparison: a peer, what it does, and how many different tokens it sees. */
export interface Cell {
  readonly peer: Peer
  readonly chain: Chain
  readonly tokens: 0 | 1 | 2000
}

export const manyTokens = 2000

/** Every line that these peers have. The chains with a limit are measured with many tokens as well. */
export function cellsOf(peers: readonly Peer[]): Cell[] {
  return peers.flatMap(peer =>
    peer.chains.flatMap((chain): Cell[] => {
      if (chain === 'plain') return [{ peer, chain, tokens: 0 }]
      if (chain === 'jwt' || chain === 'full-log') return [{ peer, chain, tokens: 1 }]
      return [
        { peer, chain, tokens: 1 },
        { peer, chain, tokens: manyTokens }
      ]
    })
  )
}

/** `haproxy/full/2000`: what `--only` is compared with. */
export function cellId({ peer, chain, tokens }: Cell): string {
  return tokens === manyTokens ? `${peer.name}/${chain}/${tokens}` : `${peer.name}/${chain}`
}
