# Libraries that run with an older C library than this machine's: HC_ZIG links them to the symbols that glibc had at
# version HC_GLIBC (2.28). The compiler is the usual one; zig is the linker only, with the compiler's own run time.
execute_process(COMMAND ${CMAKE_C_COMPILER} -print-libgcc-file-name OUTPUT_VARIABLE HC_LIBGCC
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(CONCAT CMAKE_C_CREATE_SHARED_LIBRARY
       "${CMAKE_COMMAND} -E env ZIG_GLOBAL_CACHE_DIR=${CMAKE_BINARY_DIR}/zig "
       "${HC_ZIG} cc -target ${CMAKE_SYSTEM_PROCESSOR}-linux-gnu.${HC_GLIBC} <CMAKE_SHARED_LIBRARY_C_FLAGS> "
       "<LINK_FLAGS> -shared <SONAME_FLAG><TARGET_SONAME> -o <TARGET> <OBJECTS> <LINK_LIBRARIES> ${HC_LIBGCC}")
