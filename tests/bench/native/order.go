package main

import (
	"sort"
	"strconv"
	"strings"
	"time"
)

// What a trace writes into an event's address or trait: its number within the user, and
// (optional) the time of its publication in milliseconds.
const (
	numberMark = "bench="
	timeMark   = "at="
)

// sequence is what was seen of one user on one way (pixel or API).
type sequence struct {
	last int
	seen map[int]struct{}
}

type arrival struct {
	at     float64
	user   string
	number int
}

// watch checks that numbers never go down within a user, and that no effect comes twice.
type watch struct {
	sequences  map[string]*sequence
	violations int
	duplicates int
	examples   []string
	latencies  []float64
	journal    []arrival
	journals   bool
}

func newWatch(journals bool) *watch {
	return &watch{sequences: map[string]*sequence{}, journals: journals}
}

// saw notes an operation of a user. One that is `repeatable` may come again: the same state twice
// is as if once.
func (w *watch) saw(way, user, text string, repeatable bool) {
	number, ok := marked(text, numberMark)
	if !ok {
		return
	}
	now := time.Now()
	if at, ok := marked(text, timeMark); ok {
		w.latencies = append(w.latencies, float64(now.UnixMicro())/1e3-float64(at))
	}
	if w.journals {
		w.journal = append(w.journal, arrival{float64(now.UnixMicro()) / 1e6, user, number})
	}
	key := way + user
	known := w.sequences[key]
	if known == nil {
		known = &sequence{last: -1, seen: map[int]struct{}{}}
		w.sequences[key] = known
	}
	if !repeatable {
		if _, twice := known.seen[number]; twice {
			w.duplicates++
			return
		}
		known.seen[number] = struct{}{}
	}
	if number < known.last {
		w.violations++
		if len(w.examples) < 5 {
			example := key + ": " + strconv.Itoa(number) + " after " + strconv.Itoa(known.last)
			w.examples = append(w.examples, example)
		}
		return
	}
	known.last = number
}

// marked returns the number that follows a mark.
func marked(text, mark string) (int, bool) {
	begin := strings.Index(text, mark)
	if begin < 0 {
		return 0, false
	}
	begin += len(mark)
	end := begin
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	number, err := strconv.Atoi(text[begin:end])
	return number, err == nil
}

// latency returns what came since the last time: how many, and two quantiles in milliseconds.
func (w *watch) latency() map[string]any {
	found := w.latencies
	w.latencies = nil
	if len(found) == 0 {
		return map[string]any{"count": 0}
	}
	sort.Float64s(found)
	at := func(share float64) float64 { return found[int(share*float64(len(found)-1))] }
	return map[string]any{"count": len(found), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1)}
}

// arrivals returns the page views that came after a moment.
func (w *watch) arrivals(after float64) [][3]any {
	first := sort.Search(len(w.journal), func(i int) bool { return w.journal[i].at > after })
	found := make([][3]any, 0, len(w.journal)-first)
	for _, one := range w.journal[first:] {
		found = append(found, [3]any{one.at, one.user, one.number})
	}
	return found
}
