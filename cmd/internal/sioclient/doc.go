// Package sioclient opens thousands of Socket.IO connections over WebSocket from one goroutine, to put a server under
// load or to watch what it delivers. It is made for measuring: a connection costs a file descriptor and a few dozen
// bytes, receiving allocates nothing, and one system call takes everything that a connection has to read.
//
// It speaks just enough of the protocols for that: WebSocket without a polling handshake, the main namespace, events
// without binary attachments, no reconnection. It runs on Linux.
package sioclient
