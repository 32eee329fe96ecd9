// SPDX-License-Identifier: Apache-2.0
/* A file of JSON records that is a whole array at every moment, whenever its process is killed. Not thread
 * safe: trace.c holds its lock. */
#pragma once
#include <sys/types.h>

#include "hc_util.h"

/* No record is longer; what separates records is not counted. */
enum { HC_TRACE_LINE_BYTES = 2048 };

struct hc_trace_file {
    int file;     /* -1: closed */
    char *name;   /* as it was made */
    char *buffer; /* the file from offset `begin` on: pages not written yet, the first perhaps in part */
    size_t used;
    size_t written; /* of `used`, in the file already */
    off_t begin;    /* a page boundary */
    off_t end;      /* where the closing "]" is: a page boundary */
};

/* Make the file for a pattern (%p: process id, %r: RANK, %%: %) and put `head`, a JSON object, into it. The
 * file is new: where the name is taken, also by a symbolic link, another one is found from it and told on
 * stderr. Mode 0600. 0 or an ACL_ERROR_* with a text. */
int hc_trace_file_open(struct hc_trace_file *f, const char *pattern, const char *head);
/* One JSON object on one line, of at most HC_TRACE_LINE_BYTES. It reaches the file at the latest with the
 * next write. 0 or errno, as below. */
int hc_trace_file_append(struct hc_trace_file *f, const char *line, size_t bytes);
/* Write what has gathered; the array in the file is whole before, after and in between. 0 or errno: then the
 * file has what it had and takes no more. */
int hc_trace_file_write(struct hc_trace_file *f);
/* Without a write. */
void hc_trace_file_close(struct hc_trace_file *f);
