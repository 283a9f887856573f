package sioclient

import (
	"bytes"
	"fmt"
)

// Dialect is what a server speaks over WebSocket.
type Dialect uint8

const (
	// SocketIO is version 5 of Socket.IO over version 4 of Engine.IO.
	SocketIO Dialect = iota
	// Centrifuge is the JSON protocol of centrifugal/centrifuge, from version 0.25 on. Clients do not subscribe: the
	// server has to put them into its channels when they connect.
	Centrifuge
)

// Commands that a client sends, framed. Replies and pushes come as lines of JSON, several in a frame; an empty object is a
// ping, and its answer.
var (
	frameCentrifugeConnect = clientFrame(opText, `{"id":1,"connect":{}}`)
	frameCentrifugePong    = clientFrame(opText, `{}`)
)

var (
	centrifugeConnected = []byte(`{"id":1,"connect":`)
	centrifugePush      = []byte(`{"push":{"channel":"`)
	centrifugePub       = []byte(`","pub":{"data":`)
	centrifugeEnd       = []byte(`}}}`)
)

// replies handles a text frame of a Centrifuge server.
func (c *conn) replies(p peer, data []byte) error {
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		if err := c.reply(p, line); err != nil {
			return err
		}
	}
	return nil
}

// reply handles one reply or push. That members come in a known order is relied upon, for the sake of speed.
func (c *conn) reply(p peer, line []byte) error {
	if rest, ok := bytes.CutPrefix(line, centrifugePush); ok && c.phase >= opening {
		// The name of a channel may hold anything, but those of benchmarks no quotes.
		_, rest, ok = bytes.Cut(rest, []byte(`"`))
		rest, isPub := bytes.CutPrefix(rest, centrifugePub[1:])
		body, whole := bytes.CutSuffix(rest, centrifugeEnd)
		if ok && isPub && whole {
			return p.event(c, body)
		}
	}
	switch {
	case string(line) == "{}":
		return p.ping(c)
	case bytes.HasPrefix(line, centrifugeConnected) && c.phase == opening:
		c.phase = connected
		return p.joined(c, line)
	}
	return fmt.Errorf("unexpected reply %.100q", line)
}
