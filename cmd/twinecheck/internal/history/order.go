package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// order judges the order of the deliveries, room by room.
//
// A room's log is one sequence, so two things must hold. A message that was accepted before another was even published
// comes before it. And all clients agree: the union of what they saw, as a graph whose edges lead from each message to
// the next that the same client saw, has no cycle. Where it has one, something is wrong for certain, but the count of
// messages that are out of order depends on who is believed.
func (v *verifier) order(clients []sequence) {
	for room := range v.rooms {
		position := v.agree(room, clients)
		for number, sequence := range clients {
			var latest time.Duration // start of the messages so far
			latestID, previous := 0, -1
			for _, s := range sequence[room] {
				switch m := v.all[s.id]; {
				case m.End < latest:
					v.report.Disorder++
					v.example("disorder", number, &s.id, s.at, fmt.Sprintf("it was accepted at %s; %s, delivered before it, was published at %s", m.End, v.name(latestID), latest))
				case previous >= 0 && position[s.id] < position[previous]:
					v.report.Disorder++
					v.example("disorder", number, &s.id, s.at, fmt.Sprintf("for other clients it comes before %s", v.name(previous)))
				}
				if start := v.all[s.id].Start; start > latest {
					latest, latestID = start, s.id
				}
				previous = s.id
			}
		}
	}
}

// agree returns a place for each message of a room so that each client saw ascending places only. If there is no such
// order, it returns one that breaks the cycles at the messages that were accepted first.
func (v *verifier) agree(room int, clients []sequence) map[int]int {
	// Messages of this room by a dense number of their own.
	dense := make(map[int]int, len(v.byRoom[room]))
	for i, id := range v.byRoom[room] {
		dense[id] = i
	}
	n := len(dense)
	next := make([][]int32, n)
	before := make([]int32, n) // number of edges that lead here from messages without a place
	for _, sequence := range clients {
		for i, s := range sequence[room] {
			if i == 0 {
				continue
			}
			from, to := dense[sequence[room][i-1].id], dense[s.id]
			// Most clients saw the same, so look at the edge that was added last.
			if last := len(next[from]) - 1; last >= 0 && next[from][last] == int32(to) {
				continue
			}
			next[from] = append(next[from], int32(to))
			before[to]++
		}
	}

	byEnd := make([]int, n)
	for i := range byEnd {
		byEnd[i] = i
	}
	slices.SortFunc(byEnd, func(a, b int) int {
		return cmp.Compare(v.all[v.byRoom[room][a]].End, v.all[v.byRoom[room][b]].End)
	})
	position := make(map[int]int, n)
	placed := make([]bool, n)
	var ready []int
	place := func(i int) {
		placed[i] = true
		position[v.byRoom[room][i]] = len(position)
		for _, to := range next[i] {
			if before[to]--; before[to] == 0 && !placed[to] {
				ready = append(ready, int(to))
			}
		}
	}
	for i, count := range before {
		if count == 0 {
			ready = append(ready, i)
		}
	}
	for stuck := 0; ; {
		for len(ready) > 0 {
			i := ready[len(ready)-1]
			ready = ready[:len(ready)-1]
			place(i)
		}
		for stuck < n && placed[byEnd[stuck]] {
			stuck++
		}
		if stuck == n {
			return position
		}
		place(byEnd[stuck])
	}
}
