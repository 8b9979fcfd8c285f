;; The hot loops of a backup over COPY text: taking rows out of PostgreSQL's CopyData messages, and hashing each row.
;; Written in WebAssembly because JavaScript has no 64-bit multiplication of machine speed, and because one call for 64 KiB of
;; rows costs less than one call for each row. Built by `node build-row-engine.ts`; row-engine.test.ts checks that the binary is
;; this text, and that the hash equals another implementation's.
(module
  (import "host" "memory" (memory 1))

  ;; The sum modulo 2^64 of the hashes of the rows seen, and their number.
  (global $sum (export "sum") (mut i64) (i64.const 0))
  (global $rows (export "rows") (mut i32) (i32.const 0))
  ;; Where the next byte of a row goes, and where the row began that is being taken.
  (global $out (export "out") (mut i32) (i32.const 0))
  (global $row (mut i32) (i32.const 0))
  ;; Bytes of the present CopyData message that have not arrived yet.
  (global $left (export "left") (mut i32) (i32.const 0))
  ;; Why `take` returned: 0 input used up, 1 the row does not fit before the limit, 2 not a CopyData message, 3 a row without newline.
  (global $stop (export "stop") (mut i32) (i32.const 0))

  (func $round (param $acc i64) (param $input i64) (result i64)
    (i64.mul
      (i64.rotl
        (i64.add (local.get $acc) (i64.mul (local.get $input) (i64.const 0xC2B2AE3D27D4EB4F)))
        (i64.const 31))
      (i64.const 0x9E3779B185EBCA87)))

  (func $merge (param $hash i64) (param $acc i64) (result i64)
    (i64.add
      (i64.mul
        (i64.xor (local.get $hash) (call $round (i64.const 0) (local.get $acc)))
        (i64.const 0x9E3779B185EBCA87))
      (i64.const 0x85EBCA77C2B2AE63)))

  ;; XXH64 with seed 0, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
  (func $xxh64 (param $at i32) (param $bytes i32) (result i64)
    (local $end i32)
    (local $hash i64)
    (local $a i64) (local $b i64) (local $c i64) (local $d i64)
    (local.set $end (i32.add (local.get $at) (local.get $bytes)))
    (if (i32.ge_u (local.get $bytes) (i32.const 32))
      (then
        (local.set $a (i64.const 0x60EA27EEADC0B5D6))
        (local.set $b (i64.const 0xC2B2AE3D27D4EB4F))
        (local.set $d (i64.const 0x61C8864E7A143579))
        (loop $stripes
          (local.set $a (call $round (local.get $a) (i64.load align=1 (local.get $at))))
          (local.set $b (call $round (local.get $b) (i64.load offset=8 align=1 (local.get $at))))
          (local.set $c (call $round (local.get $c) (i64.load offset=16 align=1 (local.get $at))))
          (local.set $d (call $round (local.get $d) (i64.load offset=24 align=1 (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 32)))
          (br_if $stripes (i32.ge_u (i32.sub (local.get $end) (local.get $at)) (i32.const 32))))
        (local.set $hash
          (i64.add
            (i64.add (i64.rotl (local.get $a) (i64.const 1)) (i64.rotl (local.get $b) (i64.const 7)))
            (i64.add (i64.rotl (local.get $c) (i64.const 12)) (i64.rotl (local.get $d) (i64.const 18)))))
        (local.set $hash (call $merge (local.get $hash) (local.get $a)))
        (local.set $hash (call $merge (local.get $hash) (local.get $b)))
        (local.set $hash (call $merge (local.get $hash) (local.get $c)))
        (local.set $hash (call $merge (local.get $hash) (local.get $d))))
      (else (local.set $hash (i64.const 0x27D4EB2F165667C5))))
    (local.set $hash (i64.add (local.get $hash) (i64.extend_i32_u (local.get $bytes))))
    (block $words_done
      (loop $words
        (br_if $words_done (i32.lt_u (i32.sub (local.get $end) (local.get $at)) (i32.const 8)))
        (local.set $hash
          (i64.add
            (i64.mul
              (i64.rotl
                (i64.xor (local.get $hash) (call $round (i64.const 0) (i64.load align=1 (local.get $at))))
                (i64.const 27))
              (i64.const 0x9E3779B185EBCA87))
            (i64.const 0x85EBCA77C2B2AE63)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br $words)))
    (if (i32.ge_u (i32.sub (local.get $end) (local.get $at)) (i32.const 4))
      (then
        (local.set $hash
          (i64.add
            (i64.mul
              (i64.rotl
                (i64.xor
                  (local.get $hash)
                  (i64.mul (i64.load32_u align=1 (local.get $at)) (i64.const 0x9E3779B185EBCA87)))
                (i64.const 23))
              (i64.const 0xC2B2AE3D27D4EB4F))
            (i64.const 0x165667B19E3779F9)))
        (local.set $at (i32.add (local.get $at) (i32.const 4)))))
    (block $bytes_done
      (loop $single
        (br_if $bytes_done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $hash
          (i64.mul
            (i64.rotl
              (i64.xor
                (local.get $hash)
                (i64.mul (i64.load8_u (local.get $at)) (i64.const 0x27D4EB2F165667C5)))
              (i64.const 11))
            (i64.const 0x9E3779B185EBCA87)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $single)))
    (local.set $hash
      (i64.mul
        (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 33)))
        (i64.const 0xC2B2AE3D27D4EB4F)))
    (local.set $hash
      (i64.mul
        (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 29)))
        (i64.const 0x165667B19E3779F9)))
    (i64.xor (local.get $hash) (i64.shr_u (local.get $hash) (i64.const 32))))

  ;; A row without its newline, counted and summed.
  (func $count (param $at i32) (param $bytes i32)
    (global.set $sum (i64.add (global.get $sum) (call $xxh64 (local.get $at) (local.get $bytes))))
    (global.set $rows (i32.add (global.get $rows) (i32.const 1))))

  ;; Takes the rows out of the messages in [at, end) and appends them at $out, never past the limit. A message may have begun in
  ;; an earlier call ($left). Returns where it stopped; $stop says why. PostgreSQL sends one row in one CopyData message
  ;; (manual, "COPY Operations"), ended by a newline, which is checked.
  (func (export "take") (param $at i32) (param $end i32) (param $limit i32) (result i32)
    (local $bytes i32)
    (global.set $stop (i32.const 0))
    (loop $messages
      (if (global.get $left)
        (then
          (local.set $bytes (i32.sub (local.get $end) (local.get $at)))
          (if (i32.gt_u (local.get $bytes) (global.get $left)) (then (local.set $bytes (global.get $left))))
          (memory.copy (global.get $out) (local.get $at) (local.get $bytes))
          (global.set $out (i32.add (global.get $out) (local.get $bytes)))
          (local.set $at (i32.add (local.get $at) (local.get $bytes)))
          (global.set $left (i32.sub (global.get $left) (local.get $bytes)))
          (if (global.get $left) (then (return (local.get $at))))
          (if (i32.ne (i32.load8_u (i32.sub (global.get $out) (i32.const 1))) (i32.const 10))
            (then (global.set $stop (i32.const 3)) (return (local.get $at))))
          (call $count (global.get $row) (i32.sub (i32.sub (global.get $out) (global.get $row)) (i32.const 1)))))
      (if (i32.lt_u (i32.sub (local.get $end) (local.get $at)) (i32.const 5)) (then (return (local.get $at))))
      (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 0x64))
        (then (global.set $stop (i32.const 2)) (return (local.get $at))))
      ;; The length is big-endian and counts itself.
      (local.set $bytes
        (i32.sub
          (i32.or
            (i32.or
              (i32.shl (i32.load8_u offset=1 (local.get $at)) (i32.const 24))
              (i32.shl (i32.load8_u offset=2 (local.get $at)) (i32.const 16)))
            (i32.or
              (i32.shl (i32.load8_u offset=3 (local.get $at)) (i32.const 8))
              (i32.load8_u offset=4 (local.get $at))))
          (i32.const 4)))
      (if (i32.gt_u (local.get $bytes) (i32.sub (local.get $limit) (global.get $out)))
        (then (global.set $stop (i32.const 1)) (return (local.get $at))))
      (global.set $row (global.get $out))
      (global.set $left (local.get $bytes))
      (local.set $at (i32.add (local.get $at) (i32.const 5)))
      (br $messages))
    (unreachable))

  ;; Counts the rows that end in [at, end); returns where the last of them ended.
  (func (export "count_rows") (param $at i32) (param $end i32) (result i32)
    (local $row i32)
    (local $word i64)
    (local.set $row (local.get $at))
    (loop $next
      (if (i32.ge_u (i32.sub (local.get $end) (local.get $at)) (i32.const 8))
        (then
          ;; Eight bytes at once: the lowest set bit marks the first byte that equals a newline.
          (local.set $word (i64.xor (i64.load align=1 (local.get $at)) (i64.const 0x0A0A0A0A0A0A0A0A)))
          (local.set $word
            (i64.and
              (i64.and
                (i64.sub (local.get $word) (i64.const 0x0101010101010101))
                (i64.xor (local.get $word) (i64.const -1)))
              (i64.const 0x8080808080808080)))
          (if (i64.eqz (local.get $word))
            (then (local.set $at (i32.add (local.get $at) (i32.const 8))) (br $next)))
          (local.set $at
            (i32.add (local.get $at) (i32.wrap_i64 (i64.shr_u (i64.ctz (local.get $word)) (i64.const 3))))))
        (else
          (if (i32.eq (local.get $at) (local.get $end)) (then (return (local.get $row))))
          (if (i32.ne (i32.load8_u (local.get $at)) (i32.const 10))
            (then (local.set $at (i32.add (local.get $at) (i32.const 1))) (br $next)))))
      (call $count (local.get $row) (i32.sub (local.get $at) (local.get $row)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $row (local.get $at))
      (br $next))
    (unreachable)))
