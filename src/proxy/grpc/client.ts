import type { HeaderList } from './metadata.ts'

/** Where a client's side of a call tells what comes. */
export interface RequestSink {
  /** A piece of the messages. */
  takeRequest(chunk: Buffer): void
  /** The client has sent all that it will send. */
  endRequest(): void
  /** What the client sends is no gRPC. */
  rejectRequest(detail: string): void
  /** The client takes more of the answer again. */
  drained(): void
}

/** The client's side of a call: gRPC over HTTP/2, or gRPC-Web. */
export interface RpcClient {
  /** Begins to read the request. */
  read(sink: RequestSink): void
  pause(): void
  resume(): void
  /** The head of an answer with messages. Throws for a header that cannot be sent. */
  head(headers: HeaderList): void
  /** An answer without messages ("Trailers-Only"), whole. Throws for a header that cannot be sent. */
  only(headers: HeaderList): void
  /** A piece of the messages; false: `drained` says when the next may come. */
  write(chunk: Buffer): boolean
  /** The trailers, after which the call is over for the client, whether it had sent all or not. */
  end(trailers: HeaderList): void
}
