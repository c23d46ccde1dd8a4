package namescript

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/confab-chat/confab/namesvc"
)

// Script is a parsed script.
type Script struct {
	// Live says that the script may run on live validators: it does not steer
	// time and expects nothing that depends on exact heights.
	Live bool
	// Params are those that the machine must begin with.
	Params namesvc.Params
	// Founders are the validators that the machine must begin with; any will do
	// if there are none.
	Founders []Founder
	Lines    []Line
	text     []string
	busy     map[string]bool // who has an op since the last block; for live scripts
}

// Line is one step of a script.
type Line struct {
	Number  int // from 1
	Verb    string
	Args    []string // words
	Options []Option // words of the form name=value, in order
	Want    string   // right of the arrow, "" if nothing is expected
	text    string
}

// Option is a word of the form name=value.
type Option struct{ Name, Value string }

// String returns the line as it was written.
func (l Line) String() string { return l.text }

// get returns the last value of an option, or def if it is not given.
func (l Line) get(name, def string) string {
	for _, o := range slices.Backward(l.Options) {
		if o.Name == name {
			return o.Value
		}
	}
	return def
}

func (l Line) all(name string) []string {
	var out []string
	for _, o := range l.Options {
		if o.Name == name {
			out = append(out, o.Value)
		}
	}
	return out
}

func (l Line) has(word string) bool { return slices.Contains(l.Args, word) }

// verb is what Parse knows of a step.
type verb struct {
	min, max int      // words
	options  []string // names
	outcome  bool     // an outcome must be given
	steers   bool     // steers time: not in live scripts
}

var (
	opOptions     = []string{"by", "as", "seq", "prev", "expires", "chain", "flip"}
	recordOptions = []string{"profile", "avatar", "aka", "url", "peer", "role", "key", "concierge"}
	commitOptions = slices.Concat(opOptions, recordOptions,
		[]string{"device", "salt", "genesis", "window", "on", "checkpoint", "payment", "sponsor", "ticket"})
)

// verbs is the language's whole vocabulary.
var verbs = map[string]verb{
	"actor":      {min: 2, max: 2, options: []string{"roots", "next"}},
	"commit":     {min: 1, max: 3, options: commitOptions, outcome: true},
	"register":   {min: 1, max: 3, options: commitOptions, outcome: true},
	"reveal":     {min: 1, max: 1, options: []string{"flip"}, outcome: true},
	"records":    {min: 1, max: 2, options: slices.Concat(opOptions, recordOptions), outcome: true},
	"devices":    {min: 1, max: 40, options: opOptions, outcome: true},
	"roots":      {min: 1, max: 12, options: append(slices.Clone(opOptions), "next"), outcome: true},
	"renew":      {min: 1, max: 1, options: opOptions, outcome: true},
	"release":    {min: 2, max: 2, options: opOptions, outcome: true},
	"cancel":     {min: 1, max: 1, options: append(slices.Clone(opOptions), "op"), outcome: true},
	"replay":     {min: 1, max: 1, options: []string{"flip", "window", "payment", "sponsor", "hash"}, outcome: true},
	"operate":    {min: 2, max: 2, options: append(slices.Clone(opOptions), "possession", "on"), outcome: true},
	"vote":       {min: 1, max: 2, options: append(slices.Clone(opOptions), "power", "rules", "sponsor", "until", "kind"), outcome: true},
	"sponsor":    {min: 2, max: 2, options: opOptions, outcome: true},
	"fault":      {min: 2, max: 2, options: []string{"ago"}},
	"raw":        {min: 1, max: 1, outcome: true},
	"block":      {min: 0, max: 2},
	"time":       {min: 1, max: 1, steers: true},
	"checkpoint": {},
	"resolve":    {min: 1, max: 1, outcome: true},
	"entry":      {min: 1, max: 1, outcome: true},
	"handle":     {min: 1, max: 1, outcome: true},
	"meter":      {outcome: true},
	"validators": {outcome: true},
	"operator":   {min: 1, max: 1, outcome: true},
	"quota":      {min: 1, max: 1, outcome: true},
	"tally":      {outcome: true},
	"rules":      {outcome: true},
	"root":       {outcome: true},
}

// questions are the steps that only read.
var questions = []string{"resolve", "entry", "handle", "meter", "root", "validators", "operator", "quota", "tally", "rules"}

// Parse reads a script. Errors name the line.
func Parse(text string) (Script, error) {
	s := Script{Params: namesvc.DevParams("confab-script")}
	s.Params.WorkBits, s.Params.WorkKiB = 0, 8
	s.text = strings.Split(text, "\n")
	for i, raw := range s.text {
		l, err := ParseLine(raw)
		if err == nil {
			l.Number = i + 1
			err = s.add(l)
		}
		if err != nil {
			return Script{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if err := s.Params.Check(); err != nil {
		return Script{}, err
	}
	return s, nil
}

// ParseLine reads one line. A blank line, or one with a comment only, has an
// empty verb.
func ParseLine(text string) (Line, error) {
	l := Line{text: strings.TrimSpace(text)}
	body, _, _ := strings.Cut(" "+text, " #")
	left, want, arrow := strings.Cut(body, "=>")
	l.Want = strings.Join(strings.Fields(want), " ")
	if arrow && l.Want == "" {
		return l, fmt.Errorf("nothing stands right of the arrow")
	}
	for i, word := range strings.Fields(left) {
		name, value, ok := strings.Cut(word, "=")
		switch {
		case i == 0:
			l.Verb = word
		case ok && !strings.ContainsAny(name, "/@"):
			l.Options = append(l.Options, Option{name, value})
		default:
			l.Args = append(l.Args, word)
		}
	}
	return l, nil
}

// add checks a line and takes it into the script.
func (s *Script) add(l Line) error {
	switch l.Verb {
	case "":
		return nil
	case "live":
		if len(s.Lines) > 0 {
			return fmt.Errorf("live belongs at the top")
		}
		s.Live = true
		return nil
	case "founders":
		if len(s.Lines) > 0 {
			return fmt.Errorf("founders belong at the top")
		}
		return s.addFounders(l)
	case "params":
		if len(s.Lines) > 0 {
			return fmt.Errorf("params belong at the top")
		}
		for _, o := range l.Options {
			if err := setParam(&s.Params, o); err != nil {
				return err
			}
		}
		return nil
	}
	v, ok := verbs[l.Verb]
	if !ok {
		return fmt.Errorf("%q is no step; see the package's documentation", l.Verb)
	}
	if len(l.Args) < v.min || len(l.Args) > v.max {
		return fmt.Errorf("%s takes %d to %d words, not %d", l.Verb, v.min, v.max, len(l.Args))
	}
	for _, o := range l.Options {
		if !slices.Contains(v.options, o.Name) {
			return fmt.Errorf("%s has no option %s=", l.Verb, o.Name)
		}
	}
	if v.outcome != (l.Want != "") {
		return fmt.Errorf("%s: an outcome must be given for ops and questions, and for nothing else", l.Verb)
	}
	steers := v.steers || l.Verb == "block" && slices.ContainsFunc(l.Args, func(a string) bool { return a[0] == '+' })
	if s.Live && steers {
		return fmt.Errorf("a live script cannot steer time")
	}
	if err := s.alone(l); err != nil {
		return err
	}
	s.Lines = append(s.Lines, l)
	return nil
}

// alone makes sure that in a live script nobody has two ops on the way at once:
// a network may put them into two blocks, or refuse the second at submission.
func (s *Script) alone(l Line) error {
	switch v := verbs[l.Verb]; {
	case !s.Live:
		return nil
	case l.Verb == "meter":
		return fmt.Errorf("a live script cannot know what else the chain has counted")
	case l.Verb == "block" || l.Verb == "register" || l.Verb == "checkpoint":
		s.busy = nil
		return nil
	case !v.outcome || slices.Contains(questions, l.Verb):
		return nil
	}
	if s.busy[l.Args[0]] {
		return fmt.Errorf("in a live script %s has one op a block", l.Args[0])
	}
	if s.busy == nil {
		s.busy = map[string]bool{}
	}
	s.busy[l.Args[0]] = true
	return nil
}

// WithRoots returns the script's text with the outcome of each root line
// replaced by what a run found there, by line number.
func (s Script) WithRoots(roots map[int]string) string {
	out := slices.Clone(s.text)
	for n, root := range roots {
		out[n-1] = "root => " + root
	}
	return strings.Join(out, "\n")
}

// setParam sets one parameter. The names are those that Params.Check uses.
func setParam(p *namesvc.Params, o Option) error {
	if o.Name == "chain" {
		p.Chain = o.Value
		return nil
	}
	n, err := number(o.Value)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	switch o.Name {
	case "min_handle":
		p.MinHandle = uint8(n)
	case "min_sponsored":
		p.MinSponsored = uint8(n)
	case "work_bits":
		p.WorkBits = uint8(n)
	case "work_kib":
		p.WorkKiB = uint32(n)
	case "daily":
		p.Daily = uint32(n)
	case "sponsor_daily":
		p.SponsorDaily = uint32(n)
	case "quota_burst":
		p.QuotaBurst = uint32(n)
	default:
		field := map[string]*uint64{
			"reveal": &p.Reveal, "max_expiry": &p.MaxExpiry, "quota_every": &p.QuotaEvery,
			"probation": &p.Probation, "liveness": &p.Liveness, "established": &p.Established,
			"lease": &p.LeaseTime, "dormant": &p.Dormant, "quarantine": &p.Quarantine,
			"undo": &p.Undo, "max_device": &p.MaxDevice, "checkpoint": &p.Checkpoint,
		}[o.Name]
		if field == nil {
			return fmt.Errorf("%q is no parameter", o.Name)
		}
		*field = n
	}
	return nil
}

// units are what durations are counted in, in seconds, largest first.
var units = []struct {
	letter  string
	seconds uint64
}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}

// number reads a number, or a duration such as 14d as seconds.
func number(s string) (uint64, error) {
	unit := uint64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.letter); ok {
			s, unit = rest, u.seconds
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 40)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor a duration such as 14d", s)
	}
	return n * unit, nil
}

// duration writes seconds the way number reads them, in the largest unit that
// needs no fraction.
func duration(seconds uint64) string {
	for _, u := range units {
		if seconds != 0 && seconds%u.seconds == 0 {
			return fmt.Sprint(seconds/u.seconds, u.letter)
		}
	}
	return "0s"
}
