package merge_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/internal/merge"
)

type run struct{ list []uint64 }

func (r *run) Offset() recovery.Offset { return recovery.Offset{Seq: r.list[0]} }

func (r *run) Advance() bool {
	r.list = r.list[1:]
	return len(r.list) > 0
}

func TestRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var runs merge.Runs[*run]
		var want []uint64
		for range rapid.IntRange(0, 6).Draw(t, "runs") {
			list := rapid.SliceOfNDistinct(rapid.Uint64Range(0, 30), 1, 10, rapid.ID).Draw(t, "list")
			slices.Sort(list)
			want = append(want, list...)
			runs.Add(&run{list})
		}
		slices.Sort(want)
		want = slices.Compact(want)
		var got []uint64
		for len(runs) > 0 {
			o := runs.First().Offset()
			got = append(got, o.Seq)
			runs.Skip(o)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
