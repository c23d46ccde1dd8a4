package vectors

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// File is a file of vectors.
type File struct {
	About   string // one or more sentences; lines of the file's head
	Vectors []Vector
}

// Vector is one case: named values, and mostly some bytes.
type Vector struct {
	Name   string
	Fields []Field
	Items  []Item // explains Bytes, item by item; may be empty
	Bytes  []byte // may be nil
}

// Field is one named value of a vector. The names vector and hex are taken.
type Field struct{ Name, Value string }

// Item is some bytes of a vector with what they are.
type Item struct {
	Depth int
	Bytes []byte
	Note  string
}

// Get returns the value of a field, "" if there is none.
func (v Vector) Get(name string) string {
	for _, f := range v.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// Find returns the vector of this name.
func (f File) Find(name string) (Vector, bool) {
	for _, v := range f.Vectors {
		if v.Name == name {
			return v, true
		}
	}
	return Vector{}, false
}

// noteColumn is where explanations begin, if the bytes before end earlier.
const noteColumn = 46

// Format returns the file's text.
func (f File) Format() string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(f.About), "\n") {
		b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	for _, v := range f.Vectors {
		fmt.Fprintf(&b, "\nvector: %s\n", v.Name)
		for _, field := range v.Fields {
			b.WriteString(strings.TrimRight(field.Name+": "+field.Value, " ") + "\n")
		}
		for _, line := range v.Explain() {
			b.WriteString(line + "\n")
		}
		if v.Bytes != nil {
			fmt.Fprintf(&b, "hex: %x\n", v.Bytes)
		}
	}
	return b.String()
}

// Explain returns the lines that explain the bytes, as Format writes them.
func (v Vector) Explain() []string {
	var out []string
	for _, it := range v.Items {
		line := fmt.Sprintf("  %s%x", strings.Repeat("  ", it.Depth), it.Bytes)
		out = append(out, fmt.Sprintf("%-*s # %s", noteColumn, line, it.Note))
	}
	return out
}

// Parse reads a file. It checks that the explained bytes are the whole ones.
func Parse(text string) (File, error) {
	var f File
	var about []string
	for i, line := range strings.Split(text, "\n") {
		if err := f.line(line, &about); err != nil {
			return File{}, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	f.About = strings.Join(about, "\n")
	for _, v := range f.Vectors {
		var all []byte
		for _, it := range v.Items {
			all = append(all, it.Bytes...)
		}
		if len(v.Items) > 0 && !bytes.Equal(all, v.Bytes) {
			return File{}, fmt.Errorf("vector %s: the explained bytes are not the whole ones", v.Name)
		}
	}
	return f, nil
}

// line takes one line into the file.
func (f *File) line(line string, about *[]string) error {
	switch {
	case line == "":
		return nil
	case line[0] == '#':
		if len(f.Vectors) > 0 {
			return errors.New("a comment among vectors")
		}
		*about = append(*about, strings.TrimPrefix(strings.TrimPrefix(line, "#"), " "))
		return nil
	}
	name, value, ok := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	if ok && name == "vector" {
		f.Vectors = append(f.Vectors, Vector{Name: value})
		return nil
	}
	if len(f.Vectors) == 0 {
		return errors.New("it stands before the first vector")
	}
	v := &f.Vectors[len(f.Vectors)-1]
	if line[0] == ' ' {
		return v.explanation(line)
	}
	if !ok {
		return errors.New("want name: value")
	}
	if name != "hex" {
		v.Fields = append(v.Fields, Field{name, value})
		return nil
	}
	var err error
	v.Bytes, err = hex.DecodeString(value)
	if err == nil && v.Bytes == nil {
		v.Bytes = []byte{}
	}
	return err
}

// explanation takes a line of explained bytes into the vector.
func (v *Vector) explanation(line string) error {
	left, note, ok := strings.Cut(line, " # ")
	digits := strings.TrimLeft(left, " ")
	depth := (len(left)-len(digits))/2 - 1
	b, err := hex.DecodeString(strings.TrimRight(digits, " "))
	if !ok || depth < 0 || err != nil {
		return errors.New("want indented hexadecimal digits, # and what they are")
	}
	v.Items = append(v.Items, Item{Depth: depth, Bytes: b, Note: note})
	return nil
}

// Compare reports where the file at path differs from f. With update it writes
// the file instead.
func Compare(path string, f File, update bool) error {
	want := f.Format()
	if _, err := Parse(want); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if update {
		return os.WriteFile(path, []byte(want), 0o644)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing; write it with -update", path)
	}
	if err != nil {
		return err
	}
	if string(b) == want {
		return nil
	}
	have, made := strings.Split(string(b), "\n"), strings.Split(want, "\n")
	for i := range min(len(have), len(made)) {
		if have[i] != made[i] {
			return fmt.Errorf("%s, line %d:\n\tfile %s\n\tcode %s\na frozen format has changed; if that is meant, it needs a new version", path, i+1, have[i], made[i])
		}
	}
	return fmt.Errorf("%s has %d lines, the code makes %d", path, len(have), len(made))
}

// Read reads and parses the file at path.
func Read(path string) (File, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return File{}, err
	}
	f, err := Parse(string(b))
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}
