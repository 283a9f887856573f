// Package sioclient opens thousands of Socket.IO connections from one goroutine, to put a server under load or to watch
// what it delivers. It is made for measuring: a connection costs a file descriptor and a few hundred bytes, receiving
// allocates nothing, and one system call takes everything that a connection has to read.
//
// A [Swarm] is the simplest set: all connect over WebSocket, and the first failure ends it. A [Fleet] lives longer: each
// of its clients fetches a cookie, speaks WebSocket or long polling, and comes back after a loss with its session and
// offset, as a stock client does.
//
// A Swarm also speaks to a server of centrifugal/centrifuge (see [Dialect]), so that the same work can be measured there.
//
// Both speak just enough of the protocols for that: HTTP without TLS over IPv4, WebSocket without fragments or
// compression, the main namespace, events without binary attachments, no upgrade from polling to WebSocket. The package
// runs on Linux.
package sioclient
