// What commands do to one key: the rules of docs/protocol.md section 4, for Porcupine.

package main

import (
	"fmt"
	"strconv"

	"github.com/anishathalye/porcupine"
)

// A command, as a client sent it.
type request struct {
	kind    string // get, get-safe, set, set-safe, increment, remove
	key     string
	version int64
	value   string // of set and set-safe; the step of increment
}

// What the client was told. Of a command without an answer nothing is known: it may have happened or not.
type response struct {
	outcome string // ok, conflict, not-numeric, value, unknown
	version int64
	value   string
	present bool
}

// A key at one moment.
type entry struct {
	present bool
	version int64
	value   string
}

const unconditional = -1

// nextVersion gives the version after a change of a key that names a version, and false if that is a conflict.
func nextVersion(old entry, given int64) (int64, bool) {
	if !old.present {
		return larger(given, unconditional) + 1, true
	}
	if given == unconditional {
		return old.version + 1, true
	}
	return given + 1, given >= old.version
}

func larger(a, b int64) int64 {
	if a > b {
		return a
	}
	return b
}

// apply gives the key after the command, and the outcome that its client must be told.
func apply(old entry, asked request, newerWins bool) (entry, string) {
	switch asked.kind {
	case "set", "set-safe":
		given := asked.version
		if asked.kind == "set" {
			given = unconditional
		}
		version, fits := nextVersion(old, given)
		if !fits {
			if !newerWins {
				return old, "conflict"
			}
			version = old.version + 1
		}
		return entry{true, version, asked.value}, "ok"
	case "increment":
		step, _ := strconv.ParseInt(asked.value, 10, 64)
		if !old.present {
			return entry{true, 1, asked.value}, "ok"
		}
		number, err := strconv.ParseInt(old.value, 10, 64)
		if err != nil {
			return old, "not-numeric"
		}
		return entry{true, old.version + 1, strconv.FormatInt(number+step, 10)}, "ok"
	case "remove":
		return entry{}, "ok"
	default:
		return old, "value"
	}
}

func step(state, input, output interface{}, newerWins bool) (bool, interface{}) {
	old, asked, told := state.(entry), input.(request), output.(response)
	after, outcome := apply(old, asked, newerWins)
	if told.outcome == "unknown" {
		return true, after // one that never happened counts as the last: it ends at no time
	}
	if told.outcome != outcome {
		return false, old
	}
	if outcome == "value" {
		fits := told.present == old.present && (!old.present || told.value == old.value)
		if asked.kind == "get-safe" && old.present {
			fits = fits && told.version == old.version
		}
		return fits, old
	}
	return true, after
}

func keyModel(newerWins bool) porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			places := map[string]int{}
			var parts [][]porcupine.Operation
			for _, operation := range history {
				key := operation.Input.(request).key
				place, known := places[key]
				if !known {
					place = len(parts)
					places[key] = place
					parts = append(parts, nil)
				}
				parts[place] = append(parts[place], operation)
			}
			return parts
		},
		Init: func() interface{} { return entry{} },
		Step: func(state, input, output interface{}) (bool, interface{}) {
			return step(state, input, output, newerWins)
		},
		DescribeOperation: describe,
		DescribeState: func(state interface{}) string {
			now := state.(entry)
			if !now.present {
				return "absent"
			}
			return fmt.Sprintf("version %d, %q", now.version, now.value)
		},
	}
}

func describe(input, output interface{}) string {
	asked, told := input.(request), output.(response)
	text := asked.kind + " " + asked.key
	switch asked.kind {
	case "set", "increment":
		text += " " + asked.value
	case "set-safe":
		text += fmt.Sprintf(" %d %s", asked.version, asked.value)
	}
	if told.outcome != "value" {
		return text + " -> " + told.outcome
	}
	if !told.present {
		return text + " -> absent"
	}
	if asked.kind == "get" {
		return fmt.Sprintf("%s -> %q", text, told.value)
	}
	return fmt.Sprintf("%s -> version %d, %q", text, told.version, told.value)
}
