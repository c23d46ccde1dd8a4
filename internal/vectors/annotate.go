package vectors

import (
	"errors"
	"fmt"
	"reflect"
)

// Inside says what is encoded within a field of raw bytes: the field's name and
// a value of the type that they encode. It also names what stands in a field of
// an open type.
type Inside map[string]any

// Annotate explains a canonical CBOR encoding item by item. The names come from
// the type of as: a struct that is encoded as an array gives its fields' names,
// a type with a String method its own words. Encodings within byte strings are
// explained too where inside says what they are.
func Annotate(encoding []byte, as any, inside Inside) ([]Item, error) {
	w := walker{left: encoding, inside: inside}
	t := reflect.TypeOf(as)
	if err := w.value(0, t.Name(), t); err != nil {
		return nil, err
	}
	if len(w.left) != 0 {
		return nil, fmt.Errorf("%d bytes follow the value", len(w.left))
	}
	return w.items, nil
}

type walker struct {
	left   []byte
	inside Inside
	items  []Item
}

// The major types of CBOR (RFC 8949 §3.1).
const (
	majorUint  = 0
	majorNint  = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorOther = 7
)

// maxDepth bounds how deep values may stand in each other.
const maxDepth = 16

var errShort = errors.New("the encoding ends early")

// head reads the head of an item.
func (w *walker) head() (major byte, arg uint64, raw []byte, err error) {
	if len(w.left) == 0 {
		return 0, 0, nil, errShort
	}
	first := w.left[0]
	size, low := 1, first&0x1f
	switch {
	case low < 24:
		arg = uint64(low)
	case low < 28:
		size += 1 << (low - 24)
		if len(w.left) < size {
			return 0, 0, nil, errShort
		}
		for _, b := range w.left[1:size] {
			arg = arg<<8 | uint64(b)
		}
	default:
		return 0, 0, nil, fmt.Errorf("head %#x is not canonical", first)
	}
	raw, w.left = w.left[:size], w.left[size:]
	return first >> 5, arg, raw, nil
}

func (w *walker) add(depth int, raw []byte, format string, args ...any) {
	w.items = append(w.items, Item{Depth: depth, Bytes: raw, Note: fmt.Sprintf(format, args...)})
}

// value explains one value of type t, which may be nil if it is not known.
func (w *walker) value(depth int, name string, t reflect.Type) error {
	if depth > maxDepth {
		return errors.New("values stand too deep in each other")
	}
	if as, ok := w.inside[name]; ok && isRaw(t) {
		t = reflect.TypeOf(as)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	major, arg, raw, err := w.head()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch major {
	case majorUint:
		w.add(depth, raw, "%s: %s", name, words(t, arg))
	case majorNint:
		w.add(depth, raw, "%s: -%d", name, arg+1)
	case majorBytes, majorText:
		return w.text(depth, name, major, arg, raw)
	case majorArray:
		return w.array(depth, name, arg, raw, t)
	case majorOther:
		w.add(depth, raw, "%s: %s", name, map[uint64]string{20: "false", 21: "true", 22: "none"}[arg])
	default:
		return fmt.Errorf("%s: items of major type %d are not used", name, major)
	}
	return nil
}

// isRaw reports whether a field of this type holds an encoding as it is.
func isRaw(t reflect.Type) bool {
	return t != nil && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && t.Name() == "RawMessage"
}

// words writes a number the way its type does.
func words(t reflect.Type, n uint64) string {
	if t == nil || t.Kind() < reflect.Uint || t.Kind() > reflect.Uint64 {
		return fmt.Sprint(n)
	}
	v := reflect.New(t).Elem()
	v.SetUint(n)
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return fmt.Sprintf("%d (%s)", n, s)
	}
	return fmt.Sprint(n)
}

// text explains a byte or text string.
func (w *walker) text(depth int, name string, major byte, size uint64, raw []byte) error {
	if uint64(len(w.left)) < size {
		return fmt.Errorf("%s: %w", name, errShort)
	}
	body := w.left[:size]
	if as, ok := w.inside[name]; ok && size > 0 {
		w.add(depth, raw, "%s: %d bytes, which hold", name, size)
		in := walker{left: body, inside: w.inside}
		t := reflect.TypeOf(as)
		if err := in.value(depth+1, t.Name(), t); err != nil {
			return err
		}
		if len(in.left) != 0 {
			return fmt.Errorf("%s: %d bytes follow what it holds", name, len(in.left))
		}
		w.items, w.left = append(w.items, in.items...), w.left[size:]
		return nil
	}
	w.left = w.left[size:]
	both := append(append([]byte(nil), raw...), body...)
	switch {
	case major == majorText:
		w.add(depth, both, "%s: %q", name, body)
	case size == 0:
		w.add(depth, both, "%s: empty", name)
	default:
		w.add(depth, both, "%s: %d bytes", name, size)
	}
	return nil
}

// array explains an array: a struct's fields or a list.
func (w *walker) array(depth int, name string, n uint64, raw []byte, t reflect.Type) error {
	if t != nil && t.Kind() == reflect.Struct {
		var fields []reflect.StructField
		for f := range fieldsOf(t) {
			fields = append(fields, f)
		}
		if uint64(len(fields)) != n {
			return fmt.Errorf("%s: an array of %d for %d fields", name, n, len(fields))
		}
		w.add(depth, raw, "%s: array of %d", name, n)
		for _, f := range fields {
			if err := w.value(depth+1, f.Name, f.Type); err != nil {
				return err
			}
		}
		return nil
	}
	if n == 0 {
		w.add(depth, raw, "%s: empty", name)
		return nil
	}
	w.add(depth, raw, "%s: list of %d", name, n)
	var elem reflect.Type
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		elem = t.Elem()
	}
	for i := range n {
		if err := w.value(depth+1, fmt.Sprintf("%s[%d]", name, i), elem); err != nil {
			return err
		}
	}
	return nil
}

// fieldsOf yields the fields that are encoded: all but the blank one.
func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}
