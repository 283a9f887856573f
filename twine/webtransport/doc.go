// Package webtransport serves Engine.IO, and so Socket.IO, over WebTransport: a transport on HTTP/3 that browsers have
// beside HTTP long-polling and WebSocket. It is a package of its own so that nobody else compiles QUIC.
//
// WebTransport is off by default. It takes its name in the options of the server, and a UDP port with TLS beside the TCP
// port of the other transports, with the same number, because clients know one address. Clients then open sessions over
// WebTransport, or upgrade to it from polling, as socket.io-client does with
//
//	io({ transports: ["polling", "websocket", "webtransport"] })
//
// To stop, close the Engine.IO (or Socket.IO) server first, which ends the sessions in order, then this one.
package webtransport
