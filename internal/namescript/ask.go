package namescript

import (
	"errors"
	"fmt"
	"strings"

	"github.com/confab-chat/confab/namesvc"
)

// ask answers a question line.
func (r *Runner) ask(l Line) error {
	if len(r.queue) > 0 {
		return errors.New("ops wait for a block; cut one before asking")
	}
	var got string
	var err error
	switch l.Verb {
	case "resolve":
		got, err = r.resolve(l.Args[0])
	case "entry":
		got, err = r.entryFacts(l)
	case "handle":
		got, err = r.handleFacts(l)
	case "meter":
		got, err = r.meterFacts(l)
	case "validators":
		got, err = r.validatorFacts()
	case "operator":
		got, err = r.operatorFacts(l)
	case "quota":
		got, err = r.quotaFacts(l)
	case "tally":
		got, err = r.tallyFacts()
	case "rules":
		got, err = r.rulesFacts(l)
	case "root":
		return r.root(l)
	}
	if err == nil {
		r.compare(l, got, "")
	}
	return err
}

// root compares the state's root, where the machine can tell it.
func (r *Runner) root(l Line) error {
	m, ok := r.m.(Rooter)
	if !ok {
		return nil
	}
	got := fmt.Sprintf("%x", m.Root())
	r.result.Roots[l.Number] = got
	r.compare(l, got, "")
	return nil
}

// resolve looks a handle up as a client does.
func (r *Runner) resolve(text string) (string, error) {
	h, err := namesvc.ParseHandle(text)
	if err != nil {
		return "bad-handle", nil
	}
	leaf, err := r.handleLeaf(h)
	if err != nil {
		return "", err
	}
	var owner *namesvc.Entry
	if leaf != nil {
		if owner, err = r.entry(leaf.Account); err != nil {
			return "", err
		}
	}
	m, err := namesvc.Interpret(h, leaf, owner, r.now())
	var missing *namesvc.NotFoundError
	var alike *namesvc.ConfusableError
	switch {
	case errors.As(err, &missing) && missing.Retired:
		return fmt.Sprintf("retired generation=%d", missing.Last), nil
	case errors.As(err, &missing):
		return "not-found", nil
	case errors.As(err, &alike):
		return fmt.Sprintf("confusable %v", alike.Owner), nil
	case err != nil:
		return "", err
	}
	got := fmt.Sprintf("%s %v", r.nameOf(m.Entry.Account), m.Status)
	if m.Generation > 1 {
		got += fmt.Sprintf(" generation=%d", m.Generation)
	}
	return got, nil
}

func (r *Runner) handleLeaf(h namesvc.Handle) (*namesvc.HandleLeaf, error) {
	b, err := r.m.Get(namesvc.HandleKey(h.Skeleton()))
	if err != nil || b == nil {
		return nil, err
	}
	leaf, err := namesvc.DecodeHandleLeaf(b)
	return &leaf, err
}

// facts answers with those facts that the line asks for, in its order.
func facts(l Line, known map[string]string) (string, error) {
	var out []string
	for _, word := range strings.Fields(l.Want) {
		name, _, ok := strings.Cut(word, "=")
		value, has := known[name]
		if !ok || !has {
			return "", fmt.Errorf("%q is no fact of %s", word, l.Verb)
		}
		out = append(out, name+"="+value)
	}
	return strings.Join(out, " "), nil
}

// entryFacts tells what an entry means now. Expiry and the like count from the
// account's last op, so that they are the same on every machine.
func (r *Runner) entryFacts(l Line) (string, error) {
	a, err := r.who(l.Args[0])
	if err != nil {
		return "", err
	}
	raw, err := r.entry(a.id)
	if err != nil || raw == nil {
		return "absent", err
	}
	if l.Want == "absent" {
		return "present", nil
	}
	devices, err := r.devicesOf(a.id)
	if err != nil {
		return "", err
	}
	e := raw.At(r.now())
	var handles, concierges []string
	for _, h := range e.Handles {
		handles = append(handles, h.Handle.String())
	}
	for _, c := range e.Records.Concierges {
		concierges = append(concierges, r.nameOf(c.Account))
	}
	pending := "none"
	if p := e.Pending; p != nil {
		pending = fmt.Sprintf("%v,%v,r%d", p.Kind, p.Handle, p.Rank)
	}
	since := func(t uint64) string {
		if t < e.LastActive {
			return "-" + duration(e.LastActive-t)
		}
		return "+" + duration(t-e.LastActive)
	}
	effective := "none"
	if e.Pending != nil {
		effective = since(e.Pending.Effective)
	}
	return facts(l, map[string]string{
		"seq": fmt.Sprint(e.Seq), "generation": fmt.Sprint(e.Generation), "kind": e.Kind.String(),
		"handles": none(strings.Join(handles, ",")), "concierges": none(strings.Join(concierges, ",")),
		"devices": deviceNames(a, devices.List), "device-seq": fmt.Sprint(e.DeviceSeq),
		"roots": rootNames(a, e.Roots), "next": a.nextName(e.NextRoot),
		"expires": since(e.Expires), "lapses": since(e.Lapses), "registered": since(e.Registered),
		"pending": pending, "effective": effective, "peaks": fmt.Sprint(len(e.OpLog)),
		"profile": none(short(e.Records.Profile)), "service": fmt.Sprint(e.Records.Service != nil),
	})
}

func short(b []byte) string { return fmt.Sprintf("%.8x", b) }

// handleFacts tells what a handle's leaf says.
func (r *Runner) handleFacts(l Line) (string, error) {
	h, err := namesvc.ParseHandle(l.Args[0])
	if err != nil {
		return "", err
	}
	leaf, err := r.handleLeaf(h)
	if err != nil || leaf == nil {
		return "absent", err
	}
	if l.Want == "absent" {
		return "present", nil
	}
	return facts(l, map[string]string{
		"owner": r.nameOf(leaf.Account), "generation": fmt.Sprint(leaf.Generation),
		"spelling": leaf.Handle.String(), "released": fmt.Sprint(leaf.Released != 0),
	})
}

// meterFacts tells what the chain's counters say.
func (r *Runner) meterFacts(l Line) (string, error) {
	m, err := r.meter()
	if err != nil {
		return "", err
	}
	return facts(l, map[string]string{
		"commits": fmt.Sprint(m.Commits), "waiting": fmt.Sprint(m.Next - m.Oldest),
		"oldest": fmt.Sprint(m.Oldest), "next": fmt.Sprint(m.Next), "checkpoint": fmt.Sprint(m.Checkpoint),
		"bits": fmt.Sprint(namesvc.RequiredBits(r.params, m, r.now())),
	})
}
