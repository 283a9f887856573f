package zishang520

import (
	"sync"

	"github.com/zishang520/engine.io/v2/types"
	sio "github.com/zishang520/socket.io-go-parser/v2/parser"
	"github.com/zishang520/socket.io/v2/socket"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/twine/parser"
)

// host is a namespace of the library, as our adapters see it.
type host struct{ b *bridge }

var _ adapter.Host = host{}

// Name implements [adapter.Host].
func (h host) Name() string { return h.b.Nsp().Name() }

// NextAckID implements [adapter.Host].
func (h host) NextAckID() uint64 { return h.b.Nsp().Ids() }

// frames is a packet as it is written to connections, which share it.
type frames struct {
	parts   []types.BufferInterface
	options *socket.WriteOptions
	decoded func() (*sio.Packet, error) // for listeners
}

// Prepare implements [adapter.Host].
//
// The library's own adapter encodes the WebSocket message in advance too. Not so
// here: its WebSocket transport drops whatever is queued behind such a packet.
func (h host) Prepare(d *adapter.Delivery) error {
	f := &frames{options: new(socket.WriteOptions)}
	f.options.PreEncoded = true
	f.options.Volatile = d.Flags.Volatile
	f.options.Compress = !d.Flags.NoCompress
	p := d.Packet
	f.decoded = sync.OnceValues(func() (*sio.Packet, error) {
		args, err := decode(p.Data, p.Attachments)
		if err != nil {
			return nil, err
		}
		packet := &sio.Packet{Type: sio.EVENT, Nsp: h.Name(), Data: args}
		if p.HasID {
			packet.Id = &p.ID
		}
		return packet, nil
	})
	d.Wire = f
	server := h.b.Nsp().Server()
	if _, ours := server.Opts().Parser().(strict); !ours && server.Opts().GetRawParser() != nil {
		packet, err := f.decoded()
		if err != nil {
			return err
		}
		encoding := *packet // which Encode changes
		f.parts = server.Encoder().Encode(&encoding)
		return nil
	}
	parts, err := parser.JSON.Encode(p)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if part.Binary {
			f.parts = append(f.parts, types.NewBytesBuffer(part.Data))
		} else {
			f.parts = append(f.parts, types.NewStringBuffer(part.Data))
		}
	}
	return nil
}

// ServerSideEvent implements [adapter.Host]. Handlers may block.
func (h host) ServerSideEvent(data []byte, attachments [][]byte, answer func([]byte, [][]byte)) {
	log := h.b.opts.Logger.With("namespace", h.Name())
	args, err := decode(data, attachments)
	if err != nil {
		log.Warn("zishang520: malformed event of another server", "error", err)
		return
	}
	if answer != nil {
		args = append(args, socket.Ack(func(reply []any, _ error) {
			data, attachments, err := encode(reply)
			if err != nil {
				log.Warn("zishang520: another server can't be answered", "error", err)
				return
			}
			answer(data, attachments)
		}))
	}
	if !h.b.events.put(func() { h.b.Nsp().OnServerSideEmit(args) }) && h.b.base.Err() == nil {
		log.Warn("zishang520: too many events of other servers: one is dropped")
	}
}
