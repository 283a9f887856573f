package engineio

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// Whatever happens in the moment in which a connection parks must be noticed. ADD is the first time that it does.
func TestEventsWhileParking(t *testing.T) {
	events := map[string]struct {
		// do makes it happen and returns how to see that it did.
		do     func(w *wsClient, fd int) (happened func() bool)
		reason Reason // "" for none
	}{
		"message": {func(w *wsClient, fd int) func() bool {
			w.send("4while parking")
			return func() bool { return readable(fd) }
		}, ""},
		"client closes": {func(w *wsClient, fd int) func() bool {
			_ = w.nc.Close()
			return func() bool { return readable(fd) }
		}, ReasonTransportClose},
		"client resets": {func(w *wsClient, fd int) func() bool {
			w.reset()
			return func() bool { return readable(fd) }
		}, ReasonTransportClose},
		"server cuts": {func(w *wsClient, _ int) func() bool {
			c := w.rec.conn
			go w.rec.endLocking(ReasonForcedClose, nil) // it waits for the system call that is going on
			return func() bool { return c.reader.Load() == connClosed }
		}, ReasonForcedClose},
	}
	for name, event := range events {
		for _, op := range []int{unix.EPOLL_CTL_ADD, unix.EPOLL_CTL_MOD} {
			for _, when := range []string{"before", "after", "instead"} {
				t.Run(fmt.Sprintf("%s %s %s", name, when, map[int]string{unix.EPOLL_CTL_ADD: "ADD", unix.EPOLL_CTL_MOD: "MOD"}[op]), func(t *testing.T) {
					var h *host
					var once atomic.Bool
					dialled := make(chan *wsClient, 1)
					h = newHost(t, nil, withEcho, withCtl(func(o, fd int, real func() error) (err error) {
						if o != op || !once.CompareAndSwap(false, true) {
							return real()
						}
						w := <-dialled
						if when == "after" {
							err = real()
							event.do(w, fd)
							h.soon("taken over", func() bool { return w.rec.conn.reader.Load() != connParked })
							return err
						}
						h.soon("event", event.do(w, fd))
						if when == "instead" {
							return unix.ENOSPC
						}
						return real()
					}))
					w := h.dialWebSocket()
					dialled <- w
					if op == unix.EPOLL_CTL_MOD {
						w.send("3") // is not answered
					}
					want := event.reason
					if want == "" {
						w.expectText("4while parking")
						w.send("4y")
						w.expectText("4y")
						_ = w.nc.Close()
						want = ReasonTransportClose
					}
					w.rec.expectClosed(t, want)
					if !once.Load() {
						t.Error("the connection has not parked so")
					}
					if err := h.Close(t.Context()); err != nil {
						t.Errorf("Close: %v", err)
					}
					h.expectNothingWatched()
				})
			}
		}
	}
}

func TestServerCloseWithManyParked(t *testing.T) {
	const sessions = 1000
	h := newHost(t, nil)
	var clients sync.WaitGroup
	for i := range sessions {
		w := h.dialWebSocket()
		clients.Go(func() {
			for {
				f, err := w.frame()
				if err == nil && f.Header.OpCode != ws.OpClose {
					continue
				}
				if i%2 == 0 { // the others hang up without an answer
					_, _ = w.nc.Write(clientClose(1000))
				}
				_ = w.nc.Close()
				return
			}
		})
	}
	for _, r := range h.all() {
		eventually(t, "parked", r.parked)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, r := range h.all() {
		if !r.isClosed() || r.reason != ReasonServerShutdown {
			t.Fatalf("after Close, closed %t, %q", r.isClosed(), r.reason)
		}
	}
	h.expectNothingWatched()
	clients.Wait()
}

// Connections that come and go in every way, so that descriptors are used again at once. Each gets its own messages.
func TestDescriptorsUsedAgain(t *testing.T) {
	const workers, each = 8, 250
	h := newHost(t, &Options{CloseTimeout: 20 * time.Millisecond}, withMessage(func(r *recorder, data []byte, _ bool) error {
		if string(data) == "end" {
			r.endLocking(ReasonForcedClose, nil)
			return nil
		}
		return r.Send(NewText(fmt.Appendf(nil, "%s %s", r.ID(), data)))
	}))
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if err := h.comeAndGo(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := h.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	h.expectNothingWatched()
}

func (h *host) comeAndGo() error {
	w, err := h.tryDial("EIO=4&transport=websocket")
	if err != nil {
		return err
	}
	defer w.nc.Close()
	f, err := w.frame()
	if err != nil {
		return err
	}
	w.opened = parseOpen(h.t, string(f.Payload))
	for i := range rand.IntN(3) {
		if _, err := w.nc.Write(clientFrame(ws.OpText, true, "4"+numbered(i))); err != nil {
			return err
		}
		f, err := w.frame()
		if err != nil {
			return err
		}
		if want := "4" + w.SID + " " + numbered(i); string(f.Payload) != want {
			return fmt.Errorf("got %q, want %q", f.Payload, want)
		}
	}
	switch rand.IntN(6) {
	case 0:
		w.reset()
	case 1:
		_ = w.nc.(*net.TCPConn).CloseWrite()
	case 2:
		_, _ = w.nc.Write(clientFrame(ws.OpText, true, "4end"))
		_, _ = w.frame()
	case 3:
		go h.session(w.SID).endLocking(ReasonForcedClose, nil)
		_, _ = w.frame()
	case 4:
		go h.session(w.SID).Close(ReasonForcedClose)
	}
	return nil
}
