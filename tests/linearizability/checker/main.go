// Reads a history of concurrent clients, one command a line as JSON, and says whether it is linearizable: whether the
// commands could have happened one after another, each at some moment between its beginning and its end, with just
// these answers.
//
//	checker [-strategy none|newer] [-timeout SECONDS] [-show FILE.html] HISTORY
//
// Prints one line of JSON. Exit code 0: it is; 1: it is not; 2: it can't be read; 3: no answer within the time.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// One line of a history. Times are nanoseconds of one clock that never goes back.
type line struct {
	Client  int    `json:"client"`
	Kind    string `json:"kind"`
	Key     string `json:"key"`
	Version int64  `json:"version"`
	Value   string `json:"value"`
	Call    int64  `json:"call"`
	Return  *int64 `json:"return"` // null: without an answer
	Outcome string `json:"outcome"`
	Found   *struct {
		Version int64  `json:"version"`
		Value   string `json:"value"`
	} `json:"found"` // of get and get-safe; null: absent
}

type verdict struct {
	Verdict    string `json:"verdict"`
	Operations int    `json:"operations"`
	Unknown    int    `json:"unknown"`
	Keys       int    `json:"keys"`
}

var kinds = map[string]bool{"get": true, "get-safe": true, "set": true, "set-safe": true, "increment": true, "remove": true}

func read(path string) ([]porcupine.Operation, verdict, error) {
	var history []porcupine.Operation
	var about verdict
	file, err := os.Open(path)
	if err != nil {
		return nil, about, err
	}
	defer file.Close()
	keys := map[string]bool{}
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 1<<24)
	for number := 1; scanner.Scan(); number++ {
		var one line
		if err := json.Unmarshal(scanner.Bytes(), &one); err != nil {
			return nil, about, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		if !kinds[one.Kind] || one.Key == "" || (one.Return != nil && *one.Return < one.Call) {
			return nil, about, fmt.Errorf("%s:%d: not a command of a history", path, number)
		}
		told := response{outcome: one.Outcome}
		if one.Found != nil {
			told.present, told.version, told.value = true, one.Found.Version, one.Found.Value
		}
		end := int64(math.MaxInt64)
		if one.Return == nil {
			told.outcome = "unknown"
			about.Unknown++
		} else {
			end = *one.Return
		}
		keys[one.Key] = true
		about.Operations++
		if one.Return == nil && (one.Kind == "get" || one.Kind == "get-safe") {
			continue // changed nothing, and nobody was told anything
		}
		asked := request{one.Kind, one.Key, one.Version, one.Value}
		history = append(history, porcupine.Operation{
			ClientId: one.Client, Input: asked, Call: one.Call, Output: told, Return: end,
		})
	}
	about.Keys = len(keys)
	return history, about, scanner.Err()
}

func main() {
	strategy := flag.String("strategy", "none", "of the database: none or newer")
	seconds := flag.Float64("timeout", 60, "give up after so many seconds")
	show := flag.String("show", "", "write a page that shows the history, if it is not linearizable")
	flag.Parse()
	if flag.NArg() != 1 || (*strategy != "none" && *strategy != "newer") {
		flag.Usage()
		os.Exit(2)
	}
	history, about, err := read(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	model := keyModel(*strategy == "newer")
	result, info := porcupine.CheckOperationsVerbose(model, history, time.Duration(*seconds*float64(time.Second)))
	codes := map[porcupine.CheckResult]int{porcupine.Ok: 0, porcupine.Illegal: 1, porcupine.Unknown: 3}
	names := map[porcupine.CheckResult]string{
		porcupine.Ok: "linearizable", porcupine.Illegal: "not linearizable", porcupine.Unknown: "no answer within the time",
	}
	about.Verdict = names[result]
	if result == porcupine.Illegal && *show != "" {
		if err := porcupine.VisualizePath(model, info, *show); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	text, err := json.Marshal(about)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
	os.Exit(codes[result])
}
