//go:build ignore

// bufio: what Scanner makes of odd ends, its limit and its split functions; Reader and Writer.
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A source that gives `step` bytes at a time.
type slow struct {
	left string
	step int
}

func (s *slow) Read(p []byte) (int, error) {
	if s.left == "" {
		return 0, io.EOF
	}
	n := copy(p, s.left[:min(s.step, len(s.left))])
	s.left = s.left[n:]
	return n, nil
}

var steps = []int{1, 2, 3, 100}

// tokens says what a Scanner makes of a text, however its bytes come.
func tokens(text string, split bufio.SplitFunc, limit int) {
	for _, step := range steps {
		s := bufio.NewScanner(&slow{text, step})
		s.Buffer(make([]byte, 0, limit), limit)
		s.Split(split)
		var found []string
		for s.Scan() {
			found = append(found, fmt.Sprintf("%x", s.Text()))
		}
		say(len(found), strings.Join(found, " "), errors.Is(s.Err(), bufio.ErrTooLong))
	}
}

func init() {
	add("scan_lines", func() {
		for _, text := range []string{
			"", "\n", "a", "a\n", "a\r\n", "\r\n", "\r", "a\n\nb", "a\r", "\r\r\n", "a\nb\r", "\n\n", "a\r\r\nb\n\r",
		} {
			tokens(text, bufio.ScanLines, 100)
		}
	})

	add("scan_words", func() {
		for _, text := range []string{"", " ", "a", " a ", "a b", "\t\v\f\r\n a\n", "  ab  cd  ", "a\xffb c"} {
			tokens(text, bufio.ScanWords, 100)
		}
	})

	add("scan_runes", func() {
		for _, text := range []string{
			"", "ab", "é", "€", "😀", "\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "a\x80b", "\xc0\x80", "\xed\xa0\x80",
			"\xf4\x90\x80\x80", "\xe2a", "\xf0\x9fa", "\xf8aaaaa", "\xe2\x82\xac\xe2", "\xc3\xc3\xa9",
		} {
			tokens(text, bufio.ScanRunes, 100)
		}
	})

	add("scan_bytes", func() {
		for _, text := range []string{"", "a", "ab\n", "\xff\x00"} {
			tokens(text, bufio.ScanBytes, 100)
		}
	})

	add("scan_limit", func() {
		for n := 5; n < 11; n++ {
			tokens(strings.Repeat("x", n), bufio.ScanLines, 8)
			tokens(strings.Repeat("x", n)+"\n", bufio.ScanLines, 8)
			tokens("a\n"+strings.Repeat("x", n)+"\nb\n", bufio.ScanLines, 8)
			tokens(strings.Repeat("x", n), bufio.ScanWords, 8)
			tokens(strings.Repeat(" ", 20)+strings.Repeat("x", n)+" y", bufio.ScanWords, 8)
		}
	})

	add("scan_by_function", func() {
		commas := func(data []byte, atEOF bool) (int, []byte, error) {
			if i := bytes.IndexByte(data, ','); i >= 0 {
				return i + 1, data[:i], nil
			}
			if atEOF && len(data) > 0 {
				return len(data), data, nil
			}
			return 0, nil, nil
		}
		for _, text := range []string{"", ",", "a,b", "a,b,", ",,a", "abcdefgh", "abcdefg,", "abcdefgh,"} {
			tokens(text, commas, 8)
		}
	})

	add("scan_calls_of_the_function", func() {
		for _, step := range steps {
			var calls []string
			s := bufio.NewScanner(&slow{"abc,d,,efg", step})
			s.Split(func(data []byte, atEOF bool) (int, []byte, error) {
				calls = append(calls, fmt.Sprintf("%d", len(data)))
				if i := bytes.IndexByte(data, ','); i >= 0 {
					return i + 1, data[:i], nil
				}
				if atEOF && len(data) > 0 {
					return len(data), data, nil
				}
				return 0, nil, nil
			})
			for s.Scan() {
				calls = append(calls, "token")
			}
			say(strings.Join(calls, " "))
		}
	})

	add("scan_functions_that_go_wrong", func() {
		for _, advance := range []int{-1, 100} {
			s := bufio.NewScanner(strings.NewReader("abc"))
			s.Split(func(data []byte, atEOF bool) (int, []byte, error) { return advance, []byte("x"), nil })
			say(s.Scan(), s.Err() != nil)
		}
		s := bufio.NewScanner(strings.NewReader("abc"))
		s.Split(func(data []byte, atEOF bool) (int, []byte, error) { return 0, nil, io.ErrNoProgress })
		say(s.Scan(), s.Err() == io.ErrNoProgress)
	})

	add("read_until", func() {
		r := bufio.NewReader(&slow{"one-two\nthree", 2})
		text, err := r.ReadString('-')
		say(text, err == nil)
		text, err = r.ReadString('\n')
		say(text, err == nil)
		text, err = r.ReadString('\n')
		say(text, err == io.EOF)
		text, err = r.ReadString('\n')
		say(text, err == io.EOF)
	})

	add("peek_and_discard", func() {
		r := bufio.NewReader(&slow{"0123456789", 3})
		for _, n := range []int{0, 2, 5} {
			data, err := r.Peek(n)
			say(string(data), err == nil)
		}
		n, err := r.Discard(4)
		say(n, err == nil)
		data, _ := r.Peek(3)
		say(string(data))
		n, _ = r.Discard(100)
		say(n)
		data, _ = r.Peek(3)
		say(string(data))
	})

	add("writer", func() {
		var out bytes.Buffer
		w := bufio.NewWriterSize(&out, 16)
		say(w.Buffered(), w.Available())
		for _, n := range []int{1, 5, 0, 10} {
			w.WriteString(strings.Repeat("x", n))
			say(w.Buffered(), w.Available(), out.Len())
		}
		w.Flush()
		say(w.Buffered(), w.Available(), out.Len())
		w.WriteString(strings.Repeat("y", 100))
		w.WriteString("z")
		w.Flush()
		say(w.Buffered(), out.String())
	})
}
