# What the wheel holds beside the libraries and the Python package: the start-up hook, which lives beside the
# package, and the files that make mindspeed/cann a CANN installation in the eyes of its readers.
file(STRINGS ${CMAKE_SOURCE_DIR}/src/base/hc_version.h line REGEX "HC_CANN_VERSION")
string(REGEX REPLACE ".*\"([^\"]+)\".*" "\\1" HC_CANN_VERSION "${line}")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/base/hc_version.h)

set(HC_TREE ${CMAKE_BINARY_DIR}/cann_tree)
# torch_npu wants the folders runtime, compiler and opp to exist, and a wheel holds no empty folder.
foreach(package runtime compiler opp)
  file(WRITE ${HC_TREE}/${package}/version.info "Version=${HC_CANN_VERSION}\n")
endforeach()
file(WRITE ${HC_TREE}/ascend_toolkit_install.info "package_name=mindspeed\nversion=${HC_CANN_VERSION}\n")
file(WRITE ${HC_TREE}/version.cfg "runtime_running_version=[${HC_CANN_VERSION}]\n")
# Tells a host implementation from the vendor's CANN (mindspeed.cann.decision).
file(WRITE ${HC_TREE}/host_implementation.info "version=${HC_CANN_VERSION}\n")

install(DIRECTORY ${HC_TREE}/ DESTINATION mindspeed/cann)
install(FILES python/_mindspeed_hook.py python/mindspeed.pth DESTINATION .)
