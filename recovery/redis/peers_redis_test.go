//go:build redis

package redislog

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/redis/redistest"
)

func newPeers(t *testing.T, server *redistest.Server, opts PeersOptions) *Peers {
	t.Helper()
	opts.Logger = quiet()
	p := must[*Peers](t)(NewPeers(t.Context(), server.Client(), opts))
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	return p
}

func echo(_ context.Context, request []byte) []byte { return append([]byte("echo "), request...) }

func TestPeersAnswer(t *testing.T) {
	server := redistest.Start(t)
	a, b := newPeers(t, server, PeersOptions{Info: "at a"}), newPeers(t, server, PeersOptions{Info: "at b, second"})
	stop := b.Serve(echo)
	for _, request := range []string{"1", "", strings.Repeat("x", 100_000)} {
		answer, err := a.Ask(t.Context(), b.Name(), []byte(request))
		if err != nil || string(answer) != "echo "+request {
			t.Fatalf("asked %d bytes, got %d bytes, %v", len(request), len(answer), err)
		}
	}
	all, err := a.List(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, peer := range all {
		if want := map[string]string{a.Name(): "at a", b.Name(): "at b, second"}[peer.Name]; want == "" || peer.Info != want {
			t.Errorf("%+v", peer)
		}
	}
	stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Ask(ctx, b.Name(), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that is there, but does not serve: %v", err)
	}
}

// One that left is gone at once. One that crashed does not listen, though its lease has not ended: it is given a moment to
// come back.
func TestPeersThatAreGone(t *testing.T) {
	server := redistest.Start(t)
	opts := PeersOptions{Lease: time.Minute}
	a, left, crashed := newPeers(t, server, opts), newPeers(t, server, opts), newPeers(t, server, opts)
	if err := left.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It is not waited for: then the first answer would be ErrSilent.
	if _, err := a.Ask(t.Context(), left.Name(), nil); !errors.Is(err, recovery.ErrNoPeer) {
		t.Errorf("one that left: %v", err)
	}
	crashed.cancel()
	_ = crashed.pubsub.Close()
	eventually(t, "Redis has seen the connection end", func() bool {
		listening, err := a.rdb.PubSubNumSub(t.Context(), crashed.channel(crashed.Name())).Result()
		return err == nil && listening[crashed.channel(crashed.Name())] == 0
	})
	began := time.Now()
	if _, err := a.Ask(t.Context(), crashed.Name(), nil); !errors.Is(err, recovery.ErrSilent) {
		t.Errorf("one that crashed: %v", err)
	}
	eventually(t, "certainty", func() bool {
		_, err := a.Ask(t.Context(), crashed.Name(), nil)
		return errors.Is(err, recovery.ErrNoPeer)
	})
	if took := time.Since(began); took < silence || took >= opts.Lease/2 {
		t.Errorf("given up after %v", took)
	}
}

// A server that hangs may still hold its clients' connections. It is gone when its lease has ended, not before.
func TestPeerThatHangs(t *testing.T) {
	t.Parallel() // it is mostly waiting
	server := redistest.Start(t)
	opts := PeersOptions{Lease: 2 * time.Second}
	a, hangs := newPeers(t, server, opts), newPeers(t, server, opts)
	hangs.Serve(func(ctx context.Context, _ []byte) []byte { <-ctx.Done(); return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Ask(ctx, hangs.Name(), nil); err == nil || errors.Is(err, recovery.ErrNoPeer) {
		t.Errorf("before its lease has ended: %v", err)
	}
	hangs.cancel() // and the renewals end
	if _, err := a.Ask(t.Context(), hangs.Name(), nil); !errors.Is(err, recovery.ErrNoPeer) {
		t.Errorf("afterwards: %v", err)
	}
}

// After a restart of Redis, without any memory, everybody is back.
func TestPeersOutliveRedis(t *testing.T) {
	server := redistest.Start(t)
	opts := PeersOptions{Lease: 300 * time.Millisecond, Timeout: time.Second}
	a, b := newPeers(t, server, opts), newPeers(t, server, opts)
	b.Serve(echo)
	server.Kill()
	if _, err := a.Ask(t.Context(), b.Name(), nil); err == nil || errors.Is(err, recovery.ErrNoPeer) {
		t.Errorf("without Redis: %v", err)
	}
	server.Run()
	eventually(t, "an answer", func() bool {
		answer, err := a.Ask(t.Context(), b.Name(), []byte("x"))
		return err == nil && string(answer) == "echo x"
	})
	eventually(t, "both are listed", func() bool {
		all, err := a.List(t.Context())
		return err == nil && len(all) == 2
	})
}
