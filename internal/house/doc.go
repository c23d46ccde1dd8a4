// Package house holds the rules of the house as tests: who may import whom, and
// that every package says what it is. It has no other code.
package house
