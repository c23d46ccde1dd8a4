package mls

import (
	"errors"
	"fmt"
	"io"
)

// Values that hold secrets print what they are, never what they hold. fmt
// reaches into unexported fields without asking their types, so the structs
// themselves must answer.

// Format implements fmt.Formatter without showing a secret.
func (g *Group) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "mls.Group(%x, epoch %d, leaf %d)", g.cur.context.GroupID, g.Epoch(), g.self)
}

// Format implements fmt.Formatter without showing a secret.
func (s *Staged) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "mls.Staged(%d added, %d removed, %d updated)", len(s.added), len(s.removed), len(s.updated))
}

// Format implements fmt.Formatter without showing a secret.
func (KeyPackageSecrets) Format(f fmt.State, _ rune) { io.WriteString(f, "mls.KeyPackageSecrets") }

// Format implements fmt.Formatter without showing the value.
func (r Record) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%s(%d bytes)", r.Key, len(r.Value)) }

// MarshalJSON always fails, so that no structured log shows a record: store
// its Key and Value by themselves.
func (Record) MarshalJSON() ([]byte, error) {
	return nil, errors.New("encode record as JSON: it holds secrets; store Key and Value")
}
