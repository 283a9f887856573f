//go:build dynamodb

package dynamodb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/dynamodb"
)

// Wherever dynalite is killed, what was accepted is there once it is back.
func TestKill(t *testing.T) { killEverywhere(t, killAt) }

// The same for what a node of a cluster does.
func TestKillShared(t *testing.T) { killEverywhere(t, killSharedAt) }

type killer func(t *testing.T, d *dynalite, p *proxy, api dynamodb.API, opts dynamodb.Options, step, how int) (killed bool)

func killEverywhere(t *testing.T, at killer) {
	steps := 1000
	if testing.Short() {
		steps = 6
	}
	d := newDynalite(t, t.TempDir())
	t.Cleanup(d.kill)
	p := newProxy(t, d)
	api := client(p.address())
	step := 1
	for more := true; more && step <= steps; step++ {
		for how := range killKinds {
			opts := quick(newTable(t, api))
			opts.CallTimeout, opts.Timeout = 3*time.Second, time.Minute
			more = at(t, d, p, api, opts, step, how) && more
		}
	}
	t.Logf("killed at each of %d calls", step-2)
}

const (
	killedBefore = iota // the call had no effect
	answerLost          // it had, and nobody knows
	answered            // it had
	killKinds
)

// killAt kills the server at one call and says whether there was such a call.
func killAt(t *testing.T, d *dynalite, p *proxy, api dynamodb.API, opts dynamodb.Options, step, how int) bool {
	t.Helper()
	killed := killOnce(t, d, p, step, how)
	store, err := dynamodb.Open(ctx, api, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	log, sessions := store.Log(), store.Sessions()
	start, err := log.Start(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	delivered := 0
	seq := sequencer(t, log, func(e []recovery.Entry) { delivered += len(e) })
	var accepted []publication
	session := recovery.State{PID: "p", Namespace: "/", TwineID: "t"}
	if err := sessions.Create(ctx, session, "a"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		e := recovery.Entry{Rooms: rooms, ID: fmt.Sprint(i), Data: fmt.Appendf(nil, `[%q]`, strings.Repeat("x", 2000*i))}
		o, _, err := seq.Publish(ctx, e)
		for deadline := time.Now().Add(time.Minute); err != nil && time.Now().Before(deadline); {
			o, _, err = seq.Publish(ctx, e)
		}
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, publication{e.ID, o})
		session.Position = o
		if err := sessions.Store(ctx, session, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := seq.Close(ctx); err != nil {
		t.Error(err)
	}
	st, previous, err := sessions.Claim(ctx, "p", "b")
	if err != nil || previous != "a" || st.Position != session.Position {
		t.Errorf("call %d: claimed %+v from %q: %v", step, st, previous, err)
	}
	checkOnce(t, log, start, accepted)
	if delivered != len(accepted) {
		t.Errorf("call %d: %d of %d delivered", step, delivered, len(accepted))
	}
	p.set(nil)
	again, err := dynamodb.Open(ctx, api, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	checkOnce(t, again.Log(), start, accepted)
	return *killed
}

func killSharedAt(t *testing.T, d *dynalite, p *proxy, api dynamodb.API, opts dynamodb.Options, step, how int) bool {
	t.Helper()
	opts.Shared, opts.ClockSkew, opts.CommitDelay = true, time.Millisecond, 20*time.Second
	killed := killOnce(t, d, p, step, how)
	store, err := dynamodb.Open(ctx, api, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	log := store.Log()
	start, err := log.Start(ctx, "/")
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the log begins", func() bool { return recovery.OffsetAt(time.Now()).After(start) })
	var offsets assigner
	var accepted []publication
	var ids []string
	for i := range 3 {
		o := offsets.next()
		e := recovery.Entry{Offset: o, Rooms: rooms, ID: fmt.Sprint(i), Data: fmt.Appendf(nil, `[%q]`, strings.Repeat("x", 2000*i))}
		until(t, "the entry is accepted", func() bool {
			err = log.Append(ctx, "/", []recovery.Entry{e})
			return err == nil || errors.Is(err, dynamodb.ErrLate)
		})
		if err != nil {
			t.Fatal(err)
		}
		accepted, ids = append(accepted, publication{e.ID, o}), append(ids, e.ID)
	}
	p.set(nil)
	later := opts
	later.Now = func() time.Time { return time.Now().Add(opts.CommitDelay) }
	again, err := dynamodb.Open(ctx, api, later)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	checkOnce(t, again.Log(), start, accepted)
	if found, err := again.Log().Lookup(ctx, "/", ids); err != nil || len(found) != len(ids) {
		t.Errorf("call %d: found %v: %v", step, found, err)
	}
	return *killed
}

// killOnce arranges for the server to be killed at one call.
func killOnce(t *testing.T, d *dynalite, p *proxy, step, how int) (killed *bool) {
	killed = new(bool)
	p.set(func(c *call) *answer {
		if c.n != step {
			return c.forward()
		}
		*killed = true
		var a *answer
		if how != killedBefore {
			a = c.forward()
		}
		d.kill()
		if err := d.start(); err != nil {
			t.Error(err)
		}
		if how == answerLost {
			return nil
		}
		return a
	})
	return killed
}
