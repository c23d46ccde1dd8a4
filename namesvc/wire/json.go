package wire

import (
	"bytes"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// Readable is implemented by types whose JSON is another value's: opaque sets,
// packed columns.
type Readable interface{ Readable() any }

// JSON renders a value of ours for people and for languages without CBOR, by
// one rule: struct fields in their order under snake_case names, bytes as
// lower-case hexadecimal, types with a text form as that text, absent pointers
// as null. It is for reading only; what is signed and hashed is CBOR.
func JSON(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := render(&b, reflect.ValueOf(v)); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	return append(out.Bytes(), '\n'), nil
}

func render(b *bytes.Buffer, v reflect.Value) error {
	if !v.IsValid() {
		b.WriteString("null")
		return nil
	}
	if v.Kind() != reflect.Pointer && v.CanInterface() {
		switch x := v.Interface().(type) {
		case Readable:
			return render(b, reflect.ValueOf(x.Readable()))
		case encoding.TextMarshaler:
			text, err := x.MarshalText()
			if err != nil {
				return err
			}
			return quote(b, string(text))
		case fmt.Stringer:
			if v.Kind() == reflect.Uint8 || v.Kind() == reflect.Uint32 {
				return quote(b, x.String()) // an enumeration: its name
			}
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.WriteString("null")
			return nil
		}
		return render(b, v.Elem())
	case reflect.Struct:
		return renderStruct(b, v)
	case reflect.Slice, reflect.Array:
		return renderList(b, v)
	case reflect.String:
		return quote(b, v.String())
	}
	text, err := json.Marshal(v.Interface())
	b.Write(text)
	return err
}

func renderStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	first := true
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		if err := quote(b, snake(f.Name)); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := render(b, v.Field(i)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func renderList(b *bytes.Buffer, v reflect.Value) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		raw := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(raw), v)
		return quote(b, hex.EncodeToString(raw))
	}
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := render(b, v.Index(i)); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

func quote(b *bytes.Buffer, s string) error {
	text, err := json.Marshal(s)
	b.Write(text)
	return err
}

// snake turns a Go name into snake_case: AppHash is app_hash, URLs is urls.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		lower := i+1 < len(runes) && unicode.IsLower(runes[i+1]) && !(i+2 == len(runes) && runes[i+1] == 's')
		if i > 0 && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || (lower && unicode.IsUpper(runes[i-1]))) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
