package adapter_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/adapter/adaptertest"
	"github.com/twine-realtime/twine/twine/leaktest"
	"github.com/twine-realtime/twine/twine/parser"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestInProcess(t *testing.T) {
	adaptertest.Run(t, func(t *testing.T, h adapter.Host) adapter.Adapter {
		a, err := adapter.Memory(h)
		if err != nil {
			t.Fatal(err)
		}
		return a
	})
}

func TestAPacketForNobodyIsNotEncoded(t *testing.T) {
	h := new(adaptertest.Host)
	a := adapter.NewInProcess(h)
	p := &parser.Packet{Type: parser.Event, Data: []byte(`["x"]`)}
	for range 3 {
		if err := a.Broadcast(context.Background(), p, adapter.Options{Rooms: []string{"empty"}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := h.Prepared.Load(); n != 0 {
		t.Errorf("encoded %d times", n)
	}
	for i := range 10 {
		a.Add(adaptertest.NewMember(fmt.Sprint(i)), "full")
	}
	if n, err := a.Deliver(&adapter.Delivery{Packet: p}, adapter.Options{Rooms: []string{"full"}}); n != 10 || err != nil {
		t.Errorf("delivered to %d, %v", n, err)
	}
	if n := h.Prepared.Load(); n != 1 {
		t.Errorf("encoded %d times for ten members", n)
	}
}

type brokenHost struct{ adaptertest.Host }

var errBroken = errors.New("cannot encode")

func (*brokenHost) Prepare(*adapter.Delivery) error { return errBroken }

func TestAPacketThatCannotBeEncoded(t *testing.T) {
	a := adapter.NewInProcess(new(brokenHost))
	m := adaptertest.NewMember("m")
	a.Add(m)
	p := &parser.Packet{Type: parser.Event, Data: []byte(`["x"]`)}
	if err := a.Broadcast(context.Background(), p, adapter.Options{}); !errors.Is(err, errBroken) {
		t.Errorf("Broadcast returned %v", err)
	}
	if _, err := a.BroadcastWithAck(context.Background(), p, adapter.Options{}, nil); !errors.Is(err, errBroken) {
		t.Errorf("BroadcastWithAck returned %v", err)
	}
	if len(m.Got()) > 0 {
		t.Error("it was delivered")
	}
}

// sink is a member that takes deliveries without noting them.
type sink struct {
	*adaptertest.Member
	n int
}

func (s *sink) Deliver(*adapter.Delivery) { s.n++ }

func crowd(n int, rooms func(i int) []string) *adapter.InProcess {
	a := adapter.NewInProcess(new(adaptertest.Host))
	for i := range n {
		m := &sink{Member: adaptertest.NewMember(fmt.Sprint("member", i))}
		a.Add(m, append(rooms(i), m.ID())...)
	}
	return a
}

var broadcasts = map[string]adapter.Options{
	"room":     {Rooms: []string{"lobby"}},
	"everyone": {},
	"rooms":    {Rooms: []string{"lobby", "half"}},
	"except":   {Rooms: []string{"lobby"}, Except: []string{"member7"}},
}

func lobby(i int) []string {
	if i%2 == 0 {
		return []string{"lobby", "half"}
	}
	return []string{"lobby"}
}

func TestABroadcastAllocatesNothingForAMember(t *testing.T) {
	p := &parser.Packet{Type: parser.Event, Data: []byte(`["x"]`)}
	few, many := crowd(20, lobby), crowd(5000, lobby)
	for name, o := range broadcasts {
		t.Run(name, func(t *testing.T) {
			allocations := func(a *adapter.InProcess) float64 {
				return testing.AllocsPerRun(20, func() { _ = a.Broadcast(context.Background(), p, o) })
			}
			if f, m := allocations(few), allocations(many); m > f || m > 4 {
				t.Errorf("%v allocations for 20 members, %v for 5,000", f, m)
			}
		})
	}
}

func BenchmarkBroadcast(b *testing.B) {
	p := &parser.Packet{Type: parser.Event, Data: []byte(`["x"]`)}
	a := crowd(5000, lobby)
	for _, name := range []string{"room", "everyone", "rooms", "except"} {
		b.Run(name+"/5000", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := a.Broadcast(context.Background(), p, broadcasts[name]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/5000, "ns/member")
		})
	}
}

func BenchmarkJoinLeave(b *testing.B) {
	a := crowd(5000, lobby)
	m := &sink{Member: adaptertest.NewMember("m")}
	b.ReportAllocs()
	for b.Loop() {
		a.Add(m, "m", "lobby")
		a.DelAll(m)
	}
}
