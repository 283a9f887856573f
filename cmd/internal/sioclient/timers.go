package sioclient

import (
	"container/heap"
	"time"
)

// timer is something to do later.
type timer struct {
	at   time.Time
	what func()
}

// timers is a heap, the next one first.
type timers []timer

func (t timers) Len() int           { return len(t) }
func (t timers) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timers) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timers) Push(x any)        { *t = append(*t, x.(timer)) }

func (t *timers) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = timer{}
	*t = (*t)[:last]
	return x
}

func (t *timers) add(at time.Time, what func()) { heap.Push(t, timer{at, what}) }

// due removes and returns the next timer that is due.
func (t *timers) due(now time.Time) (what func(), ok bool) {
	if len(*t) == 0 || (*t)[0].at.After(now) {
		return nil, false
	}
	return heap.Pop(t).(timer).what, true
}

// wait returns how many milliseconds it takes until the next timer is due, rounded up, and at most limit.
func (t timers) wait(now time.Time, limit time.Duration) int {
	if len(t) > 0 {
		limit = min(limit, max(0, t[0].at.Sub(now)))
	}
	return int((limit + time.Millisecond - 1) / time.Millisecond)
}
