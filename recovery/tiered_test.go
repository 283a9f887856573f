package recovery_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
)

// failing is a log that is out of reach.
type failing struct{ recovery.Log }

func (failing) Read(context.Context, string, recovery.Query) (recovery.Page, error) {
	return recovery.Page{}, errInjected
}
func (failing) Start(context.Context, string) (recovery.Offset, error) {
	return recovery.Offset{}, errInjected
}
func (failing) Last(context.Context, string) (recovery.Offset, error) {
	return recovery.Offset{}, errInjected
}

// tier makes a log that covers (start, last] of a history.
func tier(t testing.TB, history []recovery.Entry, start, last int) recovery.Log {
	t.Helper()
	log := memoryLog()
	if err := log.Begin(ctx, "/", history[start].Offset); err != nil {
		t.Fatal(err)
	}
	if err := log.Append(ctx, "/", history[start+1:last+1]); err != nil {
		t.Fatal(err)
	}
	return log
}

func history(n int) []recovery.Entry {
	base := memoryLog()
	o, _ := base.Last(ctx, "/")
	o.MS += 1_000_000 // beyond where the logs of a test begin by themselves
	var list []recovery.Entry
	for i := range n {
		e := message(i)
		e.Offset, o = o, o.Next()
		list = append(list, e)
	}
	return list
}

// Whatever the tiers cover, a replay is complete or it is refused.
func TestTieredNeverHidesAHole(t *testing.T) {
	const n = 30
	all := history(n)
	rapid.Check(t, func(rt *rapid.T) {
		var logs []recovery.Log
		type span struct{ start, last int }
		var spans []span
		for range rapid.IntRange(1, 3).Draw(rt, "tiers") {
			s := rapid.IntRange(0, n-1).Draw(rt, "start")
			l := rapid.IntRange(s, n-1).Draw(rt, "last")
			spans = append(spans, span{s, l})
			logs = append(logs, tier(t, all, s, l))
		}
		after, through := rapid.IntRange(0, n-1).Draw(rt, "after"), rapid.IntRange(0, n-1).Draw(rt, "through")
		q := recovery.Query{After: all[after].Offset, Through: all[through].Offset, Rooms: []string{"r"}, Limit: rapid.IntRange(1, 9).Draw(rt, "limit")}
		tiers := recovery.Tiers(logs...)
		var got []recovery.Entry
		for pages := 0; ; pages++ {
			if pages > 2*n {
				rt.Fatal("no end of pages")
			}
			page, err := tiers.Read(ctx, "/", q)
			if errors.Is(err, recovery.ErrGap) || errors.Is(err, recovery.ErrFuture) {
				covered := slices.ContainsFunc(spans, func(s span) bool { return s.start <= after && s.last >= through && s.last >= after })
				if covered && spans[0].start <= after && spans[0].last >= through {
					rt.Fatalf("refused although the shallowest tier covers it: %v", err)
				}
				return
			}
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, page.Entries...)
			q.After = page.Next
			if !page.More {
				break
			}
		}
		// Not refused: all up to where the answer says it is complete.
		var want []string
		for _, e := range all {
			if e.Offset.After(all[after].Offset) && !e.Offset.After(q.Through) && !e.Offset.After(q.After) {
				want = append(want, string(e.Data))
			}
		}
		if !slices.Equal(texts(got), want) {
			rt.Fatalf("%v: (%d, %d] gave %v, want %v", spans, after, through, texts(got), want)
		}
		for _, s := range spans {
			if last := all[min(s.last, through)].Offset; after < through && q.After.Before(last) {
				rt.Fatalf("%v: stops at %v although there is more", spans, q.After)
			}
		}
	})
}

func TestTieredPassesOverATierThatFails(t *testing.T) {
	all := history(10)
	good := tier(t, all, 0, 9)
	tiers := recovery.Tiers(failing{}, good)
	if got := readAll(t, tiers, recovery.Query{After: all[2].Offset, Rooms: []string{"r"}}); len(got) != 7 {
		t.Errorf("%d entries", len(got))
	}
	if start, err := tiers.Start(ctx, "/"); err != nil || start != all[0].Offset {
		t.Errorf("start %v: %v", start, err)
	}
	if last, err := tiers.Last(ctx, "/"); err != nil || last != all[9].Offset {
		t.Errorf("last %v: %v", last, err)
	}
}

// A tier that is out of reach for the moment may have the history: that is not a
// gap, of which a client would have to be told.
func TestTieredDoesNotTakeAFailureForAGap(t *testing.T) {
	all := history(10)
	tiers := recovery.Tiers(tier(t, all, 5, 9), failing{})
	_, err := tiers.Read(ctx, "/", recovery.Query{After: all[2].Offset})
	if !errors.Is(err, errInjected) || errors.Is(err, recovery.ErrGap) {
		t.Error(err)
	}
}

func TestTieredGap(t *testing.T) {
	all := history(10)
	tiers := recovery.Tiers(tier(t, all, 7, 9), tier(t, all, 5, 9))
	_, err := tiers.Read(ctx, "/", recovery.Query{After: all[2].Offset})
	var gap *recovery.GapError
	if !errors.As(err, &gap) || gap.From != all[2].Offset || gap.To != all[5].Offset || gap.Namespace != "/" {
		t.Error(err)
	}
	if _, err := tiers.Read(ctx, "/", recovery.Query{After: all[9].Offset.Next()}); !errors.Is(err, recovery.ErrFuture) {
		t.Error(err)
	}
	if err := tiers.Close(); err != nil {
		t.Error(err)
	}
}
